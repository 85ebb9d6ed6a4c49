"""The noise as the network's output (Ho et al. 2020, arXiv:2006.11239, eq. 11 and 14).

output = eps, x0 = (x - sigma eps) / alpha
"""

from __future__ import annotations

from torch import Tensor

from ..types import BadInput, NoiseLevel, Number
from .base import Parameterization, unit_variance_scale


class Eps(Parameterization):
    """The noise: output = eps, x0 = (x - sigma eps) / alpha.

    Refused at alpha = 0, where x is pure noise and eps does not determine x0.
    """

    def coefficients(self, level: NoiseLevel) -> tuple[Number, Number]:
        if not isinstance(
            level.alpha, Tensor
        ):  # checking a map would synchronise with the device: `sample` checks it before the loop
            self.check(level)
        return 1 / level.alpha, -level.sigma / level.alpha

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        return eps

    def gain(self, level: NoiseLevel) -> Number:
        return level.alpha * unit_variance_scale(level)

    def check(self, level: NoiseLevel) -> None:
        if bool((level.alpha == 0).any()) if isinstance(level.alpha, Tensor) else level.alpha == 0:
            raise BadInput(
                "an eps network does not determine the data at alpha = 0, where this schedule starts: "
                "train with `parameterization: v` (or flow, edm, x0), or start lower (timesteps karras with rho_max)"
            )
