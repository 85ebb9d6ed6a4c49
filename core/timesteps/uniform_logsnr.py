"""Levels evenly spaced in the log signal-to-noise ratio (Lu et al. 2022, arXiv:2206.00927, appendix D.4).

log rho_i = log rho_max + i/(N-1) (log rho_min - log rho_max)
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing, times_of_curve


class UniformLogSNR(TimestepSpacing):
    """Levels evenly spaced in log(sigma / alpha).

    log rho_i = log rho_max + i/(N-1) (log rho_min - log rho_max)

    Args:
        rho_min: sigma / alpha of the last step before clean data; None: that of the schedule.
        rho_max: sigma / alpha of the first level; None: that of the schedule; where the schedule starts at alpha = 0,
            the first level is exactly that, and the others start at rho = steps.
    """

    def __init__(self, rho_min: float | None = None, rho_max: float | None = None):
        self.rho_min, self.rho_max = rho_min, rho_max

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        return times_of_curve(self, schedule, steps, self.rho_max, self.rho_min, _curve)


def _curve(first: Tensor, last: Tensor, ramp: Tensor) -> Tensor:
    return torch.exp(torch.log(first) + ramp * torch.log(last / first))
