"""Times evenly spaced from the noisiest to the quietest, both included (Lin et al. 2024, arXiv:2305.08891, table 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing, whole


class Linspace(TimestepSpacing):
    """Times evenly spaced from t_max to t_min, both included.

    t_i = t_max + i/(N-1) (t_min - t_max); whole indices on a schedule that is defined on a grid."""

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        return whole(torch.linspace(schedule.t_max, schedule.t_min, steps, dtype=torch.float64), schedule)
