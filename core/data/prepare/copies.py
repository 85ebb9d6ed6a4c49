"""What the searches for near copies have in common: the most similar vectors among many, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def nearest(
    asked: Tensor, stored: Tensor, own: Tensor, owners: Tensor | None, most: int, block: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """For each vector asked about, the stored ones of other files that are most similar to it.

    Args:
        asked: (Q, d) unit vectors.
        stored: (N, d) unit vectors.
        own: (Q,) the file that each of `asked` is of.
        owners: (N,) the file that each of `stored` is of; None: vector i is of file i.
        most: how many are found for each.
        block: rows of `asked` that are compared at a time.

    Returns:
        One block after the other: its rows, the cosines (rows, most) from the largest down, and places in `stored`.
    """
    for start in range(0, len(asked), block):
        rows = slice(start, min(len(asked), start + block))
        likeness = asked[rows] @ stored.T
        if owners is None:
            likeness[torch.arange(len(likeness)), own[rows]] = -1.0
        else:
            likeness[own[rows, None] == owners] = -1.0
        yield rows, *likeness.topk(min(most, likeness.shape[1]), dim=1)
