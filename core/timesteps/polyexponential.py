"""Polyexponential: levels along a power of time in log rho (k-diffusion's get_sigmas_polyexponential)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from .base import TimestepSpacing, spread


class PolyExponential(TimestepSpacing):
    """Levels whose log(sigma / alpha) falls along a power of time.

    log rho_i = log rho_min + (1 - i/(N-1))^p (log rho_max - log rho_min).

    Args:
        exponent: p; 1 is `exponential`, above 1 puts more steps at low noise.
        rho_min: sigma / alpha of the last step before clean; None: the schedule's own.
        rho_max: sigma / alpha of the first; None: the schedule's own; where that is alpha = 0, exactly that level, and
            the rest from rho = steps on.
    """

    def __init__(self, exponent: float = 1.0, rho_min: float | None = None, rho_max: float | None = None):
        if exponent <= 0:
            raise BadInput(f"polyexponential's exponent is positive, not {exponent}")
        self.exponent, self.rho_min, self.rho_max = exponent, rho_min, rho_max

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        def curve(first: Tensor, last: Tensor, ramp: Tensor) -> Tensor:
            return torch.exp(torch.log(last) + (1 - ramp) ** self.exponent * torch.log(first / last))

        return spread(self, schedule, steps, self.rho_max, self.rho_min, curve)
