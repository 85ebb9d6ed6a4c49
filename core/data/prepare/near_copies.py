"""Nearest-neighbour search for the detection of near copies: the most similar vectors, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def nearest_vectors(
    queries: Tensor, stored: Tensor, query_files: Tensor, files: Tensor | None, most: int, block: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """For each query vector, the most similar stored vectors of other files.

    Args:
        queries: Unit vectors, (Q, d).
        stored: Unit vectors, (N, d).
        query_files: The file of each query, (Q,).
        files: The file of each stored vector, (N,); None: vector i belongs to file i.
        most: Number of vectors to find for each query.
        block: Number of queries that are compared at a time.

    Yields:
        For each block: its rows, the cosines (rows, most) in descending order, and the indices in `stored`.
    """
    for start in range(0, len(queries), block):
        rows = slice(start, min(len(queries), start + block))
        cosines = queries[rows] @ stored.T
        if files is None:
            cosines[torch.arange(len(cosines)), query_files[rows]] = -1.0
        else:
            cosines[query_files[rows, None] == files] = -1.0
        values, indices = cosines.topk(min(most, cosines.shape[1]), dim=1)
        yield rows, values, indices
