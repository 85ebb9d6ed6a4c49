"""What a density of training times is: the map from a uniform number to a time."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ...schedulers.base import Schedule


class TimestepSampling(ABC):
    """Chooses at which noise levels a network is trained."""

    @abstractmethod
    def sample(self, u: Tensor, schedule: Schedule) -> Tensor:
        """Times (B,) float64 from u (B,) in [0, 1) through the inverse of the density's distribution function.

        u is stratified over the global batch (`core.noise.stratified`), so every batch covers the whole density.
        """


def normal_log_rho(u: Tensor, schedule: Schedule, mean: float, std: float) -> Tensor:
    """Times at which log rho is normal, held within the schedule's range."""
    ends = schedule.level(torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64))
    lowest, highest = ends.rho
    rho = torch.exp(mean + std * torch.special.ndtri(u.double()))
    return schedule.t_of_rho(rho.clamp(lowest, highest)).clamp(schedule.t_min, schedule.t_max)
