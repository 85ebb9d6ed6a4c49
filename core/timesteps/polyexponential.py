"""Polyexponential: levels along a power of time in log rho (k-diffusion's get_sigmas_polyexponential).

log rho_i = log rho_min + (1 - i/(N-1))^p (log rho_max - log rho_min)
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from .base import TimestepSpacing, times_of_curve


class PolyExponential(TimestepSpacing):
    """Levels whose log(sigma / alpha) decreases along a power of time.

    log rho_i = log rho_min + (1 - i/(N-1))^p (log rho_max - log rho_min)

    Args:
        exponent: p; 1 is `exponential`, values above 1 put more steps at low noise.
        rho_min: sigma / alpha of the last step before clean data; None: that of the schedule.
        rho_max: sigma / alpha of the first level; None: that of the schedule; where the schedule starts at alpha = 0,
            the first level is exactly that, and the others start at rho = steps.
    """

    def __init__(self, exponent: float = 1.0, rho_min: float | None = None, rho_max: float | None = None):
        if exponent <= 0:
            raise BadInput(f"polyexponential's exponent is positive, not {exponent}")
        self.exponent, self.rho_min, self.rho_max = exponent, rho_min, rho_max

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        def curve(first: Tensor, last: Tensor, ramp: Tensor) -> Tensor:
            return torch.exp(torch.log(last) + (1 - ramp) ** self.exponent * torch.log(first / last))

        return times_of_curve(self, schedule, steps, self.rho_max, self.rho_min, curve)
