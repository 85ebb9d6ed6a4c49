"""No weighting: the plain squared error of the loss space (Ho et al. 2020, arXiv:2006.11239, eq. 14)."""

from __future__ import annotations

from ...predictions.base import Prediction
from ...types import Level, Number
from .base import Weighting


class Unweighted(Weighting):
    """No weighting: every level counts as it is."""

    def weight(self, level: Level, prediction: Prediction) -> Number:
        return level.alpha * 0 + 1.0
