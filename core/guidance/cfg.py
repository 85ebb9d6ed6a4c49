"""Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598, eq. 6) in x0 space, in an interval of noise levels
(Kynkäänniemi et al. 2024, arXiv:2404.07724)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..types import BadInput, Estimate, Level
from .base import FULL, NULL, Guidance, Want


class CFG(Guidance):
    """Classifier-free guidance: the estimate is pushed away from what it is without the condition.

    x0 = null + scale (full - null) inside the window; outside of it the conditional estimate alone.

    scale:  1 is no guidance, above 1 follows the condition more closely, 0 ignores it
    window: lowest and highest noise level, as tau = sigma / (alpha + sigma) (1 noise, 0 clean), at which it acts
    """

    def __init__(self, scale: float = 1.5, window: tuple[float, float] = (0.0, 1.0)):
        lo, hi = window
        if not 0 <= lo <= hi <= 1:
            raise BadInput(
                f"cfg's window is (lowest, highest) tau with 0 <= lowest <= highest <= 1, not {tuple(window)}"
            )
        self.scale, self.window = float(scale), (float(lo), float(hi))

    def wants(self, level: Level) -> Sequence[Want]:
        if self.scale == 1:
            return (FULL,)
        tau = level.tau
        if isinstance(tau, Tensor):  # elements differ, and looking at them would wait for the device
            return (FULL, NULL)
        return (FULL, NULL) if self.window[0] <= tau <= self.window[1] else (FULL,)

    def combine(self, x: Tensor, level: Level, estimates: Mapping[Want, Tensor]) -> Estimate:
        full = estimates[FULL]
        if NULL not in estimates:
            return Estimate(full)
        null, tau = estimates[NULL], level.on(x).tau
        if not isinstance(tau, Tensor):
            return Estimate(torch.lerp(null, full, self.scale))
        inside = (tau >= self.window[0]) & (tau <= self.window[1])
        return Estimate(torch.where(inside, torch.lerp(null, full, self.scale), full))
