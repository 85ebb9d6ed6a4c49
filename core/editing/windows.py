"""Media longer or larger than the training data, from overlapping windows (MultiDiffusion).

Bar-Tal et al. 2023, "MultiDiffusion", arXiv:2302.08113, eq. 5: the estimate of x0 is the weighted mean of the estimates
of all windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..guidance.base import SamplingRun
from ..types import Conditioning, Denoiser, Estimate, NoiseLevel, Number
from .base import Edit
from .window_operator import WindowOperator


class WindowedEdit(Edit):
    """D'(x) = A^+ [D(w_1), ..., D(w_n)], with the windows [w_1, ..., w_n] = A x.

    A and its pseudo-inverse A^+ are those of `WindowOperator`.

    Args:
        size: Number of elements of a window along each spatial axis: the training size.
        overlap: Share of a window that the next window overlaps.
        wrap: Circular axes of the whole tensor; within a window the network does not pad circularly.
    """

    def __init__(self, size: Sequence[int], overlap: float = 0.5, wrap: Sequence[int] = ()):
        self.size, self.overlap, self.wrap = tuple(size), overlap, tuple(wrap)

    def wrap_network(self, denoiser: Denoiser, run: SamplingRun) -> Denoiser:
        return _WindowedDenoiser(self, denoiser)

    def windows_for(self, full: Sequence[int]) -> WindowOperator:
        """The windows of a tensor with these spatial sizes; a window is never larger than the tensor."""
        size = [min(n, whole) for n, whole in zip(self.size, full, strict=True)]
        return WindowOperator(size, full, self.overlap, self.wrap)


class _WindowedDenoiser(Denoiser):
    def __init__(self, edit: WindowedEdit, denoiser: Denoiser):
        self.edit, self.denoiser = edit, denoiser
        self.windows: WindowOperator | None = None

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        if self.windows is None or self.windows.full != tuple(x.shape[2:]):
            self.windows = self.edit.windows_for(x.shape[2:])
        windows, whole = self.windows, x.shape[2:]
        split = [axis for axis, n in enumerate(windows.size) if n != whole[axis]]
        inner = replace(conditions, wrap=tuple(axis for axis in conditions.wrap if axis not in split))

        def estimate(i: int) -> Tensor:
            at = NoiseLevel(*(_part(v, windows, i, x) for v in (level.t, level.alpha, level.sigma)))
            part = inner.mapped(lambda field: windows.cut_window(field, i))
            return self.denoiser.denoise(windows.cut_window(x, i), at, part).x0

        return Estimate(windows.inverse(estimate(i) for i in range(len(windows))))


def _part(value: Number, windows: WindowOperator, i: int, x: Tensor) -> Number:
    """The part of a level's field in window i; a scalar or (B,) field is unchanged."""
    return windows.cut_window(value, i) if isinstance(value, Tensor) and value.ndim == x.ndim else value
