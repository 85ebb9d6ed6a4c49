"""Levels evenly spaced in the log of the signal-to-noise ratio (Lu et al. 2022, arXiv:2206.00927, appendix D.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import Spacing, rho_range


class UniformLogSNR(Spacing):
    """Levels evenly spaced in log(sigma / alpha).

    log rho_i = log rho_max + i/(N-1) (log rho_min - log rho_max).

    rho_min: sigma / alpha of the last step before clean; None: the schedule's own
    rho_max: sigma / alpha of the first; None: the schedule's own, which must be finite
    """

    def __init__(self, rho_min: float | None = None, rho_max: float | None = None):
        self.rho_min, self.rho_max = rho_min, rho_max

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        first, last = rho_range(schedule, self.rho_max, self.rho_min, "uniform_logsnr")
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        return schedule.t_of_rho(torch.exp(torch.log(first) + ramp * torch.log(last / first)))
