"""Linspace: times evenly spaced from t_max to t_min, both included (Lin et al. 2024, arXiv:2305.08891, table 2).

t_i = t_max + i/(N-1) (t_min - t_max)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing


class Linspace(TimestepSpacing):
    """Times evenly spaced from t_max to t_min, both included.

    t_i = t_max + i/(N-1) (t_min - t_max). On a schedule that is defined on a grid of S indices they are rounded as in
    diffusers: k_i = round(i (S-1)/(N-1)) from the clean end, halves to even. A single step starts at t_max.
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if schedule.steps is None or steps == 1:
            return torch.linspace(schedule.t_max, schedule.t_min, steps, dtype=torch.float64)
        indices = np.linspace(0, schedule.steps - 1, steps).round()[::-1]
        return schedule.t_min + torch.from_numpy(indices.copy())
