"""An ideal low-pass filter, for bandwidth extension and deblurring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from ..types import BadInput, MediaSpec
from ..util.annotations import Range
from .base import LinearOperator


class LowPass(LinearOperator):
    """Removes the frequencies above `cutoff`: along time, or along every axis of media without time.

    Along an axis A = P^T F^-1 M F P, where P appends as many zeros as there are elements, F is the DFT, and M is 1
    where |f| <= cutoff, else 0. The zeros prevent that the end leaks into the beginning. A* = A.

    Args:
        spec: Media specification.
        cutoff: Highest frequency that is left: in Hz along time, else in cycles per element, below 0.5.

    Raises:
        BadInput: The cutoff is not below half of the rate.
    """

    def __init__(self, spec: MediaSpec, cutoff: Annotated[float, Range(above=0)]):
        timed = spec.rate is not None and spec.time_axis is not None
        self.rate = float(spec.rate or 1) if timed else 1.0
        self.axes = [spec.time_axis or 0] if timed else list(range(len(spec.axes)))
        if not 0 < cutoff < self.rate / 2:
            unit = "half of the rate" if timed else "in cycles per element"
            raise BadInput(f"low_pass.cutoff is above 0 and below {self.rate / 2:g}, {unit}, not {cutoff:g}")
        self.cutoff = float(cutoff)

    def apply(self, x: Tensor) -> Tensor:
        """The low frequencies, (B, C, *size)."""
        for axis in self.axes:
            x = self._filtered(x, 2 + axis)
        return x

    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The same filter."""
        return self.apply(y)

    def to_media(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The low frequencies themselves."""
        return y

    def _filtered(self, x: Tensor, dim: int) -> Tensor:
        n = x.shape[dim]
        removed = torch.fft.rfftfreq(2 * n, 1 / self.rate, device=x.device, dtype=torch.float64) > self.cutoff
        spectrum = torch.fft.rfft(x.movedim(dim, -1), 2 * n).masked_fill(removed, 0)
        return torch.fft.irfft(spectrum, 2 * n)[..., :n].movedim(-1, dim)
