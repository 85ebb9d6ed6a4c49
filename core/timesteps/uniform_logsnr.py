"""Levels evenly spaced in the log of the signal-to-noise ratio (Lu et al. 2022, arXiv:2206.00927, appendix D.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing, spread


class UniformLogSNR(TimestepSpacing):
    """Levels evenly spaced in log(sigma / alpha).

    log rho_i = log rho_max + i/(N-1) (log rho_min - log rho_max).

    Args:
        rho_min: sigma / alpha of the last step before clean; None: the schedule's own.
        rho_max: sigma / alpha of the first; None: the schedule's own; where that is alpha = 0, exactly that level, and
            the rest from rho = steps on.
    """

    def __init__(self, rho_min: float | None = None, rho_max: float | None = None):
        self.rho_min, self.rho_max = rho_min, rho_max

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        return spread(self, schedule, steps, self.rho_max, self.rho_min, _curve)


def _curve(first: Tensor, last: Tensor, ramp: Tensor) -> Tensor:
    return torch.exp(torch.log(first) + ramp * torch.log(last / first))
