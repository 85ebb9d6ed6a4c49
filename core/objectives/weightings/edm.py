"""EDM's weighting: levels count alike in the unit-variance space (Karras et al. 2022, arXiv:2206.00364, table 1)."""

from __future__ import annotations

from ...parameterizations.base import Parameterization
from ...types import NoiseLevel, Number
from .base import Weighting, limits


class EDM(Weighting):
    """Every level counts alike in the unit-variance space of the `edm` prediction.

    1 / gain^2: (alpha^2 + sigma^2) / sigma^2 in x0 space, 1 for `edm`, and 1 for v where alpha^2 + sigma^2 = 1. For an
    x0 loss it grows as 1 / sigma^2 and for an eps loss as 1 / alpha^2: finite within the range of training.
    """

    def weight(self, level: NoiseLevel, prediction: Parameterization) -> Number:
        return prediction.gain(limits(level)) ** -2
