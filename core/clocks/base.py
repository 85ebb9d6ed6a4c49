"""How the noise level is told to a network: one number that is finite at every level."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..types import Level, Number


class Clock(ABC):
    """Level -> the number that the network embeds; elementwise, so maps stay maps. Finite at both ends."""

    @abstractmethod
    def read(self, level: Level) -> Number:
        """The number for this level, roughly within [-5, 5] unless the clock's docstring says otherwise."""


def log_rho(level: Level, limit: float) -> Number:
    """log(sigma / alpha), held within [-limit, limit]."""
    rho = level.rho
    if isinstance(rho, Tensor):
        return torch.log(rho).clamp(-limit, limit)
    return min(max(math.log(rho), -limit), limit) if rho else -limit
