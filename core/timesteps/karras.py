"""Karras: levels evenly spaced in rho^(1/exponent) (Karras et al. 2022, arXiv:2206.00364, eq. 5).

rho_i = (rho_max^(1/p) + i/(N-1) (rho_min^(1/p) - rho_max^(1/p)))^p
"""

from __future__ import annotations

from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from .base import TimestepSpacing, times_of_curve


class Karras(TimestepSpacing):
    """Levels evenly spaced in a root of rho = sigma / alpha: more steps at low noise.

    rho_i = (rho_max^(1/p) + i/(N-1) (rho_min^(1/p) - rho_max^(1/p)))^p

    Args:
        exponent: p; larger values put more steps at low noise.
        rho_min: sigma / alpha of the last step before clean data; None: that of the schedule.
        rho_max: sigma / alpha of the first level; None: that of the schedule; where the schedule starts at alpha = 0,
            the first level is exactly that, and the others start at rho = steps.
    """

    def __init__(self, exponent: float = 7.0, rho_min: float | None = None, rho_max: float | None = None):
        if exponent <= 0:
            raise BadInput(f"karras's exponent is positive, not {exponent}")
        self.exponent, self.rho_min, self.rho_max = exponent, rho_min, rho_max

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        p = self.exponent

        def curve(first: Tensor, last: Tensor, ramp: Tensor) -> Tensor:
            return (first ** (1 / p) + ramp * (last ** (1 / p) - first ** (1 / p))) ** p

        return times_of_curve(self, schedule, steps, self.rho_max, self.rho_min, curve)
