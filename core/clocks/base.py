"""How the noise level is told to a network: one number that is finite at every level."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..types import Level, Number


class Clock(ABC):
    """Level -> the number that the network embeds; elementwise, so maps stay maps. Finite at alpha = 0 and sigma = 0."""

    @abstractmethod
    def read(self, level: Level) -> Number:
        """The number for this level, roughly within [-5, 5] unless the clock's docstring says otherwise."""
