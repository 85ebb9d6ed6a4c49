"""Uniform in continuous time (Lu et al. 2022, arXiv:2206.00927, appendix D.4, "uniform t").

t_i = t_max + i/(N-1) (t_min - t_max)

DPM-Solver calls it time_uniform: the schedule's time is continuous even where it was defined on a grid. On schedules
without a grid it equals `linspace`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing


class UniformT(TimestepSpacing):
    """Times evenly spaced from t_max to t_min, both included, not rounded on a grid.

    t_i = t_max + i/(N-1) (t_min - t_max). For networks that accept times between the indices of their grid.
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        return torch.linspace(schedule.t_max, schedule.t_min, steps, dtype=torch.float64)
