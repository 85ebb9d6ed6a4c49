"""The clean data as the network's output (Salimans and Ho 2022, arXiv:2202.00512, section 4).

output = x0
"""

from __future__ import annotations

from torch import Tensor

from ..types import NoiseLevel, Number
from .base import Parameterization, unit_variance_scale


class X0(Parameterization):
    """The clean data: output = x0."""

    def coefficients(self, level: NoiseLevel) -> tuple[Number, Number]:
        return 0.0, 1.0

    def x0(self, x: Tensor, output: Tensor, level: NoiseLevel) -> Tensor:
        return output

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        return x0

    def gain(self, level: NoiseLevel) -> Number:
        return level.sigma * unit_variance_scale(level)
