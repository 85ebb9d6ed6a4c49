"""EDM's weighting: every level counts alike in the unit-variance space (Karras et al. 2022, arXiv:2206.00364, table 1)."""

from __future__ import annotations

from ...predictions.base import Prediction
from ...types import Level, Number
from .base import Weighting, limits


class EDM(Weighting):
    """(alpha^2 + sigma^2) / sigma^2 in x0 space, that is 1 / gain^2 in any space: 1 for `edm`, and for v where alpha^2 + sigma^2 = 1.

    For an x0 loss it grows as 1 / sigma^2 and for an eps loss as 1 / alpha^2: finite within a schedule's training range.
    """

    def weight(self, level: Level, prediction: Prediction) -> Number:
        return prediction.gain(limits(level)) ** -2
