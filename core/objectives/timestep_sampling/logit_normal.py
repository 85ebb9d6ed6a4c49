"""The logit-normal density of large flow models (Esser et al. 2024, arXiv:2403.03206, eq. 19), as a density of tau.

logit(tau) = log(sigma / alpha), so this is `lognormal` with the name and the defaults that flow models use. For
rectified flow without a shift, tau equals t.
"""

from __future__ import annotations

from torch import Tensor

from ...schedulers.base import Schedule
from ...types import BadInput
from .base import TimestepSampling, lognormal_times


class LogitNormal(TimestepSampling):
    """logit(tau) is normal, tau = sigma / (alpha + sigma); values are clamped to the range of the schedule.

    Args:
        mean: Mean of logit(tau); above 0 trains more at high noise.
        std: Standard deviation of logit(tau).
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        if std <= 0:
            raise BadInput(f"logit_normal's std is positive, not {std}")
        self.mean, self.std = mean, std

    def sample(self, u: Tensor, schedule: Schedule) -> Tensor:
        return lognormal_times(u, schedule, self.mean, self.std)
