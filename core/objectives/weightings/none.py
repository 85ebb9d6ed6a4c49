"""No weighting: the plain squared error of the loss space (Ho et al. 2020, arXiv:2006.11239, eq. 14)."""

from __future__ import annotations

from ...parameterizations.base import Parameterization
from ...types import NoiseLevel, Number
from .base import Weighting


class Unweighted(Weighting):
    """No weighting: every level counts as it is."""

    def weight(self, level: NoiseLevel, prediction: Parameterization) -> Number:
        return level.alpha * 0 + 1.0
