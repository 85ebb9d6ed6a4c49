"""EDM's noise conditioning, a quarter of log rho (Karras et al. 2022, arXiv:2206.00364, table 1).

c_noise = log(sigma / alpha) / 4
"""

from __future__ import annotations

from ..types import NoiseLevel, Number
from .base import NoiseConditioning, clamped_log_rho


class CNoise(NoiseConditioning):
    """EDM's c_noise: log(sigma / alpha) / 4, clamped to [-5, 5]; the limits are alpha = 0 and sigma = 0."""

    def embedding_value(self, level: NoiseLevel) -> Number:
        return clamped_log_rho(level, 20.0) / 4
