"""Means of blocks of neighbouring elements."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...types import BadInput, MediaSpec
from .base import LinearOperator


class Downsample(LinearOperator):
    """Means of blocks of `factor` elements along every axis (super-resolution).

    y_k = (x_(k f) + ... + x_(k f + f - 1)) / f; (A* y)_i = y_(i // f) / f.

    Args:
        factor: Elements of a block along an axis.
    """

    def __init__(self, spec: MediaSpec, factor: int = 2):
        if factor < 2:
            raise BadInput(f"downsample's factor is 2 or more, not {factor}")
        self.axes, self.factor = spec.axes, factor

    def check(self, channels: int, size: Sequence[int]) -> None:
        for axis, n in zip(self.axes, size, strict=True):
            if n % self.factor:
                divisors = [f for f in range(2, min(n, 17)) if n % f == 0]
                remedy = f"factors that do: {', '.join(map(str, divisors))}" if divisors else "cut the file"
                raise BadInput(f"downsample's factor {self.factor} does not divide {axis} {n}; {remedy}")

    def apply(self, x: Tensor) -> Tensor:
        """Means, (B, C, *(size / factor))."""
        self.check(x.shape[1], x.shape[2:])
        for dim in range(2, x.ndim):
            x = x.unflatten(dim, (-1, self.factor)).mean(dim + 1)
        return x

    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """Each value, divided by the number of elements of its block, at all of them."""
        for dim in range(2, y.ndim):
            y = y.repeat_interleave(self.factor, dim) / self.factor
        return y
