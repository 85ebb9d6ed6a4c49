"""Karras: levels evenly spaced in rho^(1/exponent) (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from .base import Spacing


class Karras(Spacing):
    """rho_i = (rho_max^(1/p) + i/(N-1) (rho_min^(1/p) - rho_max^(1/p)))^p.

    exponent: p; larger puts more steps at low noise
    rho_min:  sigma / alpha of the last step before clean; None: the schedule's own
    rho_max:  sigma / alpha of the first; None: the schedule's own, which must be finite
    """

    def __init__(self, exponent: float = 7.0, rho_min: float | None = None, rho_max: float | None = None):
        self.exponent, self.rho_min, self.rho_max = exponent, rho_min, rho_max

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        first = schedule.level(schedule.t_max).rho if self.rho_max is None else torch.tensor(self.rho_max, dtype=torch.float64)
        last = schedule.level(schedule.t_min).rho if self.rho_min is None else torch.tensor(self.rho_min, dtype=torch.float64)
        if not torch.isfinite(torch.as_tensor(first)):
            raise BadInput("karras needs a finite first level, and this schedule starts at alpha = 0: set rho_max, or use linspace")
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        rho = (first ** (1 / self.exponent) + ramp * (last ** (1 / self.exponent) - first ** (1 / self.exponent))) ** self.exponent
        return schedule.t_of_rho(rho)
