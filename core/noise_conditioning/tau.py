"""tau, bounded on every schedule: the time t of flow models (Liu et al. 2023, arXiv:2209.03003, eq. 1).

tau = sigma / (alpha + sigma)
"""

from __future__ import annotations

from ..types import NoiseLevel, Number
from .base import NoiseConditioning


class Tau(NoiseConditioning):
    """tau = sigma / (alpha + sigma), scaled to [-5, 5]: 10 tau - 5."""

    def embedding_value(self, level: NoiseLevel) -> Number:
        return 10 * level.tau - 5
