"""EDM's density, which concentrates on medium noise levels (Karras et al. 2022, arXiv:2206.00364, table 1)."""

from __future__ import annotations

from torch import Tensor

from ...schedulers.base import Schedule
from ...types import BadInput
from .base import TimestepSampling, lognormal_times


class LogNormal(TimestepSampling):
    """log(sigma / alpha) is normal; values are clamped to the range of the schedule.

    Args:
        mean: Mean of log rho; lower trains more on fine detail.
        std: Standard deviation of log rho.
    """

    def __init__(self, mean: float = -1.2, std: float = 1.2):
        if std <= 0:
            raise BadInput(f"lognormal's std is positive, not {std}")
        self.mean, self.std = mean, std

    def sample(self, u: Tensor, schedule: Schedule) -> Tensor:
        return lognormal_times(u, schedule, self.mean, self.std)
