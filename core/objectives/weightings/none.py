"""No weighting: the squared error in the loss space (Ho et al. 2020, arXiv:2006.11239, eq. 14)."""

from __future__ import annotations

from ...parameterizations.base import Parameterization
from ...types import NoiseLevel, Number
from .base import Weighting


class Unweighted(Weighting):
    """No weighting: the weight is 1 at every level."""

    def weight(self, level: NoiseLevel, parameterization: Parameterization) -> Number:
        return level.alpha * 0 + 1.0
