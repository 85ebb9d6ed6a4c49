"""tau = sigma / (alpha + sigma), bounded on every schedule: the time t of flow models."""

from __future__ import annotations

from ..types import NoiseLevel, Number
from .base import NoiseConditioning


class Tau(NoiseConditioning):
    """tau = sigma / (alpha + sigma), spread over [-5, 5]: 10 tau - 5."""

    def read(self, level: NoiseLevel) -> Number:
        return 10 * level.tau - 5
