"""v, the velocity on the circle of alpha and sigma (Salimans and Ho 2022, arXiv:2202.00512, section 4).

output = alpha eps - sigma x0
"""

from __future__ import annotations

from torch import Tensor

from ..types import NoiseLevel, Number
from .base import Parameterization, marginal_variance, unit_variance_scale


class V(Parameterization):
    """The velocity on the circle of alpha and sigma: output = alpha eps - sigma x0.

    x0 = (alpha x - sigma output) / (alpha^2 + sigma^2), on any schedule.
    """

    def coefficients(self, level: NoiseLevel) -> tuple[Number, Number]:
        total = marginal_variance(level)
        return level.alpha / total, -level.sigma / total

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        return level.alpha * eps - level.sigma * x0

    def gain(self, level: NoiseLevel) -> Number:
        return 1 / unit_variance_scale(level)
