"""The schedule's time, unscaled: what many published networks expect (0 to 999 for DDPM, 0 to 1 for flow models)."""

from __future__ import annotations

from ..types import NoiseLevel, Number
from .base import NoiseConditioning


class Time(NoiseConditioning):
    """t in the schedule's units, not scaled: on the discrete schedule the index 0 to 999, so not within [-5, 5]."""

    def embedding_value(self, level: NoiseLevel) -> Number:
        return level.t
