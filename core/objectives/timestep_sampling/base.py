"""Base class of timestep sampling: the map from a uniform number to a training time."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ...schedulers.base import Schedule


class TimestepSampling(ABC):
    """Density of the times, and so of the noise levels, at which a network is trained."""

    @abstractmethod
    def sample(self, u: Tensor, schedule: Schedule) -> Tensor:
        """Times from uniform numbers, by the inverse of the cumulative distribution function.

        Args:
            u: Uniform numbers in [0, 1), (B,). They are stratified over the global batch
                (`core.util.rng.stratified_uniforms`), so that every batch covers the whole density.
            schedule: The noise schedule.

        Returns:
            Times, (B,) float64.
        """


def lognormal_times(u: Tensor, schedule: Schedule, mean: float, std: float) -> Tensor:
    """Times at which log(rho) is normally distributed, clamped to the range of the schedule."""
    ends = schedule.level(torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64))
    lowest, highest = ends.rho
    rho = torch.exp(mean + std * torch.special.ndtri(u.double()))
    return schedule.t_of_rho(rho.clamp(lowest, highest)).clamp(schedule.t_min, schedule.t_max)
