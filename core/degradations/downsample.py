"""A lower resolution, for super-resolution (Saharia et al. 2021, "SR3", arXiv:2104.07636)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from ..types import BadInput, MediaSpec
from ..util.annotations import Range
from .base import LinearOperator


class Downsample(LinearOperator):
    """Means of blocks of `factor` elements along each axis; the last block of an axis may be shorter.

    Along an axis y_k = (x_(k f) + ... + x_(k f + n_k - 1)) / n_k with the n_k <= f elements of block k;
    (A* y)_i = y_k / n_k and (A^+ y)_i = y_k with k = i // f.

    Args:
        spec: Media specification.
        factor: Elements of a block along each axis.

    Raises:
        BadInput: An axis is shorter than a block.
    """

    def __init__(self, spec: MediaSpec, factor: Annotated[int, Range(2, 1024)] = 4):
        if factor > min(spec.size):
            raise BadInput(f"downsample.factor is {factor}, and the media have only {min(spec.size)} elements")
        self.factor = factor

    def apply(self, x: Tensor) -> Tensor:
        """Means, (B, C, *(size / factor, rounded up))."""
        for dim in range(2, x.ndim):
            whole = x.shape[dim] // self.factor * self.factor
            means = x.narrow(dim, 0, whole).unflatten(dim, (-1, self.factor)).mean(dim + 1)
            rest = x.narrow(dim, whole, x.shape[dim] - whole)
            x = torch.cat([means, rest.mean(dim, keepdim=True)], dim) if rest.shape[dim] else means
        return x

    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """Each value, divided by the number of elements of its block, at all of them."""
        for dim, n in enumerate(size, start=2):
            counts = torch.full((y.shape[dim],), float(self.factor)).to(y)
            counts[-1] = n - (len(counts) - 1) * self.factor
            y = y / counts.reshape(-1, *[1] * (y.ndim - 1 - dim))
        return self.to_media(y, size)

    def to_media(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """Each value at all elements of its block, (B, C, *size)."""
        for dim, n in enumerate(size, start=2):
            y = y.repeat_interleave(self.factor, dim).narrow(dim, 0, n)
        return y
