"""EDM's weighting: equal weights in the unit-variance space (Karras et al. 2022, arXiv:2206.00364, table 1)."""

from __future__ import annotations

from ...parameterizations.base import Parameterization
from ...types import NoiseLevel, Number
from .base import Weighting, clamp_level


class EDM(Weighting):
    """Every noise level has the same weight in the unit-variance space of the `edm` parameterization.

    w = 1 / gain^2: (alpha^2 + sigma^2) / sigma^2 in x0 space, 1 for `edm`, and 1 for v if alpha^2 + sigma^2 = 1. For an
    x0 loss it grows as 1 / sigma^2, for an eps loss as 1 / alpha^2; it is finite for all training levels.
    """

    def weight(self, level: NoiseLevel, parameterization: Parameterization) -> Number:
        return parameterization.gain(clamp_level(level)) ** -2
