"""What a loss weighting is: how much an error counts at each noise level."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from ...parameterizations.base import Parameterization
from ...types import NoiseLevel, Number

_TINY = 1e-12


class Weighting(ABC):
    """Weighs the squared error of a prediction by noise level."""

    @abstractmethod
    def weight(self, level: NoiseLevel, prediction: Parameterization) -> Number:
        """What the squared error in the space of `prediction` is multiplied by; elementwise in the level."""


def limits(level: NoiseLevel) -> NoiseLevel:
    """The level with alpha and sigma at least 1e-12: ratios of powers of them take their limits at the ends."""
    return NoiseLevel(
        level.t, torch.as_tensor(level.alpha).clamp(min=_TINY), torch.as_tensor(level.sigma).clamp(min=_TINY)
    )
