"""The velocity of a straight line from data to noise (Liu et al. 2023, arXiv:2209.03003, eq. 1), for any schedule.

output = eps - x0

Also flow matching (Lipman et al. 2023, arXiv:2210.02747).
"""

from __future__ import annotations

from torch import Tensor

from ..types import NoiseLevel, Number
from .base import Parameterization, unit_variance_scale


class Flow(Parameterization):
    """The difference between noise and data: output = eps - x0.

    x0 = (x - sigma output) / (alpha + sigma), which is x - sigma output on rectified flow.
    """

    def coefficients(self, level: NoiseLevel) -> tuple[Number, Number]:
        total = level.alpha + level.sigma
        return 1 / total, -level.sigma / total

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        return eps - x0

    def gain(self, level: NoiseLevel) -> Number:
        return (level.alpha + level.sigma) * unit_variance_scale(level)
