"""EDM preconditioning (Karras et al. 2022, arXiv:2206.00364, eq. 7 and table 1), for any alpha and sigma.

With sigma_data = 1: x0 = c_skip x + c_out F, c_skip = alpha / (alpha^2 + sigma^2), c_out = sigma / sqrt(alpha^2 +
sigma^2). alpha = 1 gives the paper's coefficients; alpha^2 + sigma^2 = 1 gives F = -v. All are finite at both ends.
"""

from __future__ import annotations

from torch import Tensor

from ..types import NoiseLevel, Number
from .base import Parameterization, marginal_variance, unit_variance_scale


class EDM(Parameterization):
    """A mixture of x0 and eps whose target has unit variance at every level: F with x0 = c_skip x + c_out F."""

    def coefficients(self, level: NoiseLevel) -> tuple[Number, Number]:
        return level.alpha / marginal_variance(level), level.sigma * unit_variance_scale(level)

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        return (level.sigma * x0 - level.alpha * eps) * unit_variance_scale(level)

    def gain(self, level: NoiseLevel) -> Number:
        return level.alpha * 0 + 1.0
