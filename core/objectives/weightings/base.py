"""Base class of loss weightings: the weight of an error at each noise level."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from ...parameterizations.base import Parameterization
from ...types import NoiseLevel, Number

_TINY = 1e-12


class Weighting(ABC):
    """Weight of the squared error as a function of the noise level."""

    @abstractmethod
    def weight(self, level: NoiseLevel, parameterization: Parameterization) -> Number:
        """The factor of the squared error.

        Args:
            level: Noise level; the weight is computed elementwise.
            parameterization: Parameterization in whose space the error is measured.

        Returns:
            The weight, shaped like the level.
        """


def clamp_level(level: NoiseLevel) -> NoiseLevel:
    """The level with alpha and sigma of at least 1e-12, so that ratios of their powers are finite at both ends."""
    return NoiseLevel(
        level.t, torch.as_tensor(level.alpha).clamp(min=_TINY), torch.as_tensor(level.sigma).clamp(min=_TINY)
    )
