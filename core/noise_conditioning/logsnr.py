"""The log signal-to-noise ratio (Kingma et al. 2021, arXiv:2107.00630, eq. 3).

logsnr / 4 = log(alpha / sigma) / 2
"""

from __future__ import annotations

from ..types import NoiseLevel, Number
from .base import NoiseConditioning, clamped_log_rho


class LogSNR(NoiseConditioning):
    """A quarter of the log signal-to-noise ratio, which is clamped to [-20, 20]: 5 is clean data, -5 is noise."""

    def embedding_value(self, level: NoiseLevel) -> Number:
        return clamped_log_rho(level, 10.0) / -2
