"""The search for near copies: in a data set before training, and of training examples among samples.

Both searches have two stages. A coarse comparison, cheap enough for all pairs, names a few candidates of each example;
a fine comparison, which a modality brings, gives each candidate a similarity; a decision turns these into a result.
Examples and what describes them are plain arrays here: what makes two of them similar is the modality's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.files import progress
from ..data.prepare.types import Pair
from ..types import BadInput

Decision = Callable[[Tensor], float]
Draw = Callable[[float, float], float]
"""A uniform random number between two bounds."""
Alter = Callable[[Tensor, str, Draw, torch.Generator], Tensor]
ALTERATIONS = ("gain", "shift", "crop")
"""What planted copies differ by: gain; gain and place; gain, place and extent."""


class NearestMatches(NamedTuple):
    """For each example its most similar training example.

    Attributes:
        similarity: (N,): 1 for the same, lower for others
        nearest: (N,): index of that training example
    """

    similarity: Tensor
    nearest: Tensor


# --- among samples: the nearest training example of each ---


def nearest_examples(
    candidates: Tensor, compare: Callable[[int, Tensor], Tensor], decide: Decision | None = None
) -> NearestMatches:
    """The most similar candidate of each example, by the fine comparison.

    Args:
        candidates: (N, K) indices of training examples, from the coarse comparison
        compare: (row, (K,) indices) -> (K,) fine similarities of example `row` to these
        decide: (K,) similarities in falling order -> what is reported; None: the largest, 0 or more
    """
    similarity, nearest = torch.zeros(len(candidates)), candidates[:, 0].clone()
    for row, which in enumerate(candidates):
        found, order = compare(row, which).sort(descending=True, stable=True)
        similarity[row] = float(found[0].clamp(min=0)) if decide is None else decide(found)
        nearest[row] = which[order[0]]
    return NearestMatches(similarity, nearest)


def distinct_from(rank: int, rounding: float) -> Decision:
    """How far the largest similarity s_1 stands out from that of the next `rank`, s_r:

        1 - (1 - s_1 + u) / (1 - s_r + u),

    0 where it does not stand out and near 1 for a copy among unrelated examples.

    Source: Lowe 2004, "Distinctive image features from scale-invariant keypoints", section 7.1 (ratio of the nearest to
    the next nearest distance).

    Args:
        rank: how many of the similarities after the largest are passed over, the last included
        rounding: u, the distance that rounding alone makes
    """

    def decide(similarities: Tensor) -> float:
        other = similarities[min(rank, len(similarities) - 1)] if len(similarities) > 1 else torch.zeros(())
        return float(1 - (1 - similarities[0] + rounding) / (1 - other + rounding))

    return decide


# --- in a data set: pairs ---


def most_similar(
    queries: Tensor, keys: Tensor, count: int, owners: tuple[Tensor, Tensor], rows: int = 512, stage: str = ""
) -> Iterator[tuple[range, Tensor, Tensor]]:
    """The `count` keys of largest scalar product with each query, those of the query's own example excluded.

    Args:
        queries: (N, d) unit vectors
        keys: (M, d) unit vectors
        count: keys for each query, fewer where there are fewer
        owners: (N,) and (M,) numbers of the examples that queries and keys belong to
        rows: queries at a time
        stage: what a progress bar is called; "": none is shown

    Yields:
        The rows of a block of queries, the products (n, count) in falling order and the keys (n, count).
    """
    starts = range(0, len(queries), rows)
    for start in progress(starts, stage, len(starts)) if stage else starts:
        block = range(start, min(start + rows, len(queries)))
        products = queries[start : block.stop] @ keys.T
        products[owners[0][start : block.stop, None] == owners[1]] = -1.0
        yield block, *products.topk(min(count, len(keys)), dim=1)


def best_partners(similarity: Mapping[tuple[int, int], float], count: int) -> list[tuple[int, int]]:
    """The pairs that are among the `count` most similar ones of either example, sorted."""
    of_example: dict[int, list[tuple[float, tuple[int, int]]]] = {}
    for pair, value in similarity.items():
        for i in pair:
            of_example.setdefault(i, []).append((value, pair))
    return sorted({pair for rows in of_example.values() for _, pair in sorted(rows, reverse=True)[:count]})


def ranked_pairs(similarity: Mapping[tuple[int, int], float]) -> list[Pair]:
    """As pairs, the most similar first."""
    rows = [Pair(a, b, min(1.0, value)) for (a, b), value in similarity.items()]
    return sorted(rows, key=lambda p: (-p.likeness, p.first, p.second))


# --- planted copies ---


def planted_copies(media: Sequence[Tensor], kind: str, alter: Alter, seed: int) -> list[Tensor]:
    """Altered copies of examples, which test the search.

    Args:
        media: examples (C, *spatial)
        kind: what is altered, one of `ALTERATIONS`
        alter: (example, kind, uniform random numbers, generator) -> copy
        seed: of the random numbers

    Raises:
        BadInput: for another kind.
    """
    if kind not in ALTERATIONS:
        raise BadInput(f"kind is {kind!r}: give one of {', '.join(ALTERATIONS)}")
    rng = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=rng))

    return [alter(one, kind, draw, rng) for one in media]
