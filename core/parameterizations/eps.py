"""The noise itself (Ho et al. 2020, arXiv:2006.11239, eq. 11 and 14)."""

from __future__ import annotations

from torch import Tensor

from ..types import BadInput, NoiseLevel, Number
from .base import Parameterization, unit_variance


class Eps(Parameterization):
    """The noise: output = eps, x0 = (x - sigma eps) / alpha.

    Refused at alpha = 0, where x is all noise and knowing it tells nothing of the data.
    """

    def coefficients(self, level: NoiseLevel) -> tuple[Number, Number]:
        if not isinstance(level.alpha, Tensor):  # looking at a map would wait for the device: `sample` looks before
            self.check(level)
        return 1 / level.alpha, -level.sigma / level.alpha

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        return eps

    def gain(self, level: NoiseLevel) -> Number:
        return level.alpha * unit_variance(level)

    def check(self, level: NoiseLevel) -> None:
        if bool((level.alpha == 0).any()) if isinstance(level.alpha, Tensor) else level.alpha == 0:
            raise BadInput(
                "an eps network says nothing about the data at alpha = 0, where this schedule starts: "
                "train with `parameterization: v` (or flow, edm, x0), or start lower (timesteps karras with rho_max)"
            )
