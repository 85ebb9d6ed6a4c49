"""The search for near copies: pairs in a data set before training, and copies of training examples among samples.

Both searches have two stages. A coarse comparison, fast enough for all pairs, selects a few candidates for each
example; a fine comparison, supplied by the modality, computes the similarity of each candidate; a decision turns these
into a result. Examples and their descriptors are plain arrays here; the modality defines what makes two examples
similar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.prepare.types import NearCopyPair
from ..types import BadInput
from ..util.progress import with_progress

Decision = Callable[[Tensor], float]
Draw = Callable[[float, float], float]
"""A uniform random number between two bounds."""
Alter = Callable[[Tensor, str, Draw, torch.Generator], Tensor]
ALTERATIONS = ("gain", "shift", "crop")
"""Differences of planted copies: gain; gain and position; gain, position and extent."""


class NearestMatches(NamedTuple):
    """The most similar training example of each example.

    Attributes:
        similarity: (N,), 1 for the same example, lower for others.
        nearest: (N,) index of that training example.
    """

    similarity: Tensor
    nearest: Tensor


# --- among samples: the nearest training example of each ---


def nearest_examples(
    candidates: Tensor, compare: Callable[[int, Tensor], Tensor], decide: Decision | None = None
) -> NearestMatches:
    """The most similar candidate of each example, by the fine comparison.

    Args:
        candidates: (N, K) indices of training examples, from the coarse comparison.
        compare: (row, (K,) indices) -> (K,) fine similarities of example `row` to these.
        decide: (K,) similarities in descending order -> reported similarity; None: the largest one, at least 0.
    """
    similarity, nearest = torch.zeros(len(candidates)), candidates[:, 0].clone()
    for row, which in enumerate(candidates):
        found, order = compare(row, which).sort(descending=True, stable=True)
        similarity[row] = float(found[0].clamp(min=0)) if decide is None else decide(found)
        nearest[row] = which[order[0]]
    return NearestMatches(similarity, nearest)


def make_ratio_decision(rank: int, rounding: float) -> Decision:
    """How far the largest similarity s_1 stands out from s_r, a similarity of lower rank:

        1 - (1 - s_1 + u) / (1 - s_r + u),

    0 where it does not stand out and near 1 for a copy among unrelated examples.

    Source: Lowe 2004, "Distinctive image features from scale-invariant keypoints", section 7.1 (ratio of the nearest to
    the next nearest distance).

    Args:
        rank: Position of s_r in descending order, where s_1 has position 0.
        rounding: u, the distance due to rounding alone.
    """

    def decide(similarities: Tensor) -> float:
        other = similarities[min(rank, len(similarities) - 1)] if len(similarities) > 1 else torch.zeros(())
        return float(1 - (1 - similarities[0] + rounding) / (1 - other + rounding))

    return decide


# --- in a data set: pairs ---


def find_nearest_vectors(
    queries: Tensor, keys: Tensor, count: int, owners: tuple[Tensor, Tensor], rows: int = 512, stage: str = ""
) -> Iterator[tuple[range, Tensor, Tensor]]:
    """The `count` keys of largest scalar product with each query, without keys of the query's own example.

    Args:
        queries: (N, d) unit vectors.
        keys: (M, d) unit vectors.
        count: Maximum number of keys per query.
        owners: (N,) and (M,) indices of the examples that queries and keys belong to.
        rows: Queries per block.
        stage: Title of the progress bar; "": no progress bar.

    Yields:
        The rows of a block of queries, the products (n, count) in descending order and the keys (n, count).
    """
    starts = range(0, len(queries), rows)
    for start in with_progress(starts, stage, "block", len(starts)) if stage else starts:
        block = range(start, min(start + rows, len(queries)))
        products = queries[start : block.stop] @ keys.T
        products[owners[0][start : block.stop, None] == owners[1]] = -1.0
        values, indices = products.topk(min(count, len(keys)), dim=1)
        yield block, values, indices


def nearest_pairs(similarity: Mapping[tuple[int, int], float], count: int) -> list[tuple[int, int]]:
    """The pairs that are among the `count` most similar ones of at least one of their examples, sorted."""
    of_example: dict[int, list[tuple[float, tuple[int, int]]]] = {}
    for pair, value in similarity.items():
        for i in pair:
            of_example.setdefault(i, []).append((value, pair))
    return sorted({pair for rows in of_example.values() for _, pair in sorted(rows, reverse=True)[:count]})


def ranked_pairs(similarity: Mapping[tuple[int, int], float]) -> list[NearCopyPair]:
    """The pairs, most similar first."""
    rows = [NearCopyPair(a, b, min(1.0, value)) for (a, b), value in similarity.items()]
    return sorted(rows, key=lambda p: (-p.similarity, p.first, p.second))


# --- planted copies ---


def make_altered_copies(media: Sequence[Tensor], kind: str, alter: Alter, seed: int) -> list[Tensor]:
    """Altered copies of examples, to test the search.

    Args:
        media: Examples (C, *spatial).
        kind: One of `ALTERATIONS`.
        alter: (example, kind, uniform random numbers, generator) -> copy.
        seed: Seed of the random numbers.

    Raises:
        BadInput: For an unknown kind.
    """
    if kind not in ALTERATIONS:
        raise BadInput(f"kind is {kind!r}: give one of {', '.join(ALTERATIONS)}")
    rng = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=rng))

    return [alter(one, kind, draw, rng) for one in media]
