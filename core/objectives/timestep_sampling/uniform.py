"""Uniformly distributed times (Ho et al. 2020, arXiv:2006.11239, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...schedulers.base import Schedule
from .base import TimestepSampling


class Uniform(TimestepSampling):
    """Times distributed uniformly between t_min and t_max; integers if the schedule is defined on a grid."""

    def sample(self, u: Tensor, schedule: Schedule) -> Tensor:
        u = u.double()
        if schedule.steps is not None:
            return schedule.t_min + torch.floor(u * schedule.steps).clamp(max=schedule.steps - 1)
        return schedule.t_min + u * (schedule.t_max - schedule.t_min)
