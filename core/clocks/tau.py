"""tau = sigma / (alpha + sigma), bounded on every schedule: the clock of flow models, where it equals t."""

from __future__ import annotations

from ..types import Level, Number
from .base import Clock


class Tau(Clock):
    """tau = sigma / (alpha + sigma), spread over [-5, 5]: 10 tau - 5."""

    def read(self, level: Level) -> Number:
        return 10 * level.tau - 5
