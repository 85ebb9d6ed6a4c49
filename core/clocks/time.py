"""The schedule's own time as it is: what networks trained elsewhere expect (0 to 999 for DDPM's, 0 to 1 for flow's)."""

from __future__ import annotations

from ..types import Level, Number
from .base import Clock


class Time(Clock):
    """t in the schedule's units, not scaled: on the discrete schedule the index 0 to 999, so not within [-5, 5]."""

    def read(self, level: Level) -> Number:
        return level.t
