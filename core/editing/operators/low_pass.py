"""An ideal low-pass filter along every axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...types import BadInput, MediaSpec
from .base import LinearOperator


class LowPass(LinearOperator):
    """Keeps the frequencies up to a cutoff along every axis, and removes the others (bandwidth extension, deblurring).

    A = F^-1 M F with the DFT F and the mask M of |f| <= cutoff: a projection, A* = A. Media count as periodic.

    Args:
        cutoff: Highest frequency that is kept: in Hz along an axis with a rate, else in cycles per element (0 to 0.5).
    """

    def __init__(self, spec: MediaSpec, cutoff: float = 0.125):
        self.rates = [1.0 if rate is None else float(rate) for rate in spec.rates]
        for axis, rate in zip(spec.axes, self.rates, strict=True):
            if not 0 < cutoff < rate / 2:
                raise BadInput(
                    f"low_pass's cutoff is above 0 and below {rate / 2:g}, half of the rate of {axis}, not {cutoff:g}"
                )
        self.cutoff = float(cutoff)

    def apply(self, x: Tensor) -> Tensor:
        """The low frequencies, (B, C, *size)."""
        for dim, rate in enumerate(self.rates, start=2):
            n = x.shape[dim]
            kept = torch.fft.rfftfreq(n, 1 / rate, device=x.device, dtype=torch.float64) <= self.cutoff
            shape = [1] * x.ndim
            shape[dim] = len(kept)
            x = torch.fft.irfft(torch.fft.rfft(x, dim=dim) * kept.reshape(shape), n, dim=dim)
        return x

    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The same filter."""
        return self.apply(y)
