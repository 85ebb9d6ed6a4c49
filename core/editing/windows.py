"""Media longer or larger than a network was trained on, from overlapping windows (Bar-Tal et al. 2023,
"MultiDiffusion", arXiv:2302.08113, eq. 5): every estimate of x0 is the mean of the windows' own, so that they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..guidance.base import Run
from ..types import Conditioning, Denoiser, Estimate, NoiseLevel, Number
from .base import Edit
from .operators.windows import Windows


class Windowed(Edit):
    """D(x) = A^+ (D(window) for every window in A x).

    Args:
        size: Elements of a window along each spatial axis: what the network was trained on.
        overlap: Share of a window that the next one covers too.
        wrap: Axes that are loops; the network does not treat a window as a loop.
    """

    def __init__(self, size: Sequence[int], overlap: float = 0.5, wrap: Sequence[int] = ()):
        self.size, self.overlap, self.wrap = tuple(size), overlap, tuple(wrap)

    def within(self, denoiser: Denoiser, run: Run) -> Denoiser:
        return _WindowedDenoiser(self, denoiser)

    def count(self, full: Sequence[int]) -> int:
        """Windows of a tensor with these spatial axes: calls of the network an evaluation."""
        return len(self.over(full))

    def over(self, full: Sequence[int]) -> Windows:
        """The windows of a tensor with these spatial axes; none is larger than the tensor."""
        size = [min(n, whole) for n, whole in zip(self.size, full, strict=True)]
        return Windows(size, full, self.overlap, self.wrap)


class _WindowedDenoiser(Denoiser):
    def __init__(self, edit: Windowed, denoiser: Denoiser):
        self.edit, self.denoiser = edit, denoiser
        self.made: Windows | None = None

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        if self.made is None or self.made.full != tuple(x.shape[2:]):
            self.made = self.edit.over(x.shape[2:])
        windows, whole = self.made, x.shape[2:]
        split = [axis for axis, n in enumerate(windows.size) if n != whole[axis]]
        inner = replace(conditions, wrap=tuple(axis for axis in conditions.wrap if axis not in split))

        def one(i: int) -> Tensor:
            valid = None if inner.valid is None else windows.take(inner.valid, i)
            at = NoiseLevel(*(_part(v, windows, i, x) for v in (level.t, level.alpha, level.sigma)))
            return self.denoiser.denoise(windows.take(x, i), at, replace(inner, valid=valid)).x0

        return Estimate(windows.inverse(one(i) for i in range(len(windows))))


def _part(value: Number, windows: Windows, i: int, x: Tensor) -> Number:
    """The window's part of a field of a level; only a map has parts."""
    return windows.take(value, i) if isinstance(value, Tensor) and value.ndim == x.ndim else value
