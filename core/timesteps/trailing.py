"""Trailing: equal steps in time, counted from the noisy end (Lin et al. 2024, arXiv:2305.08891, table 2).

t_i = t_max - i/N (t_max - t_clean)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing, equal_time_steps, last_time


class Trailing(TimestepSpacing):
    """Equal steps in time from t_max, the last of them to clean data: the usual timestep spacing of flow models.

    t_i = t_max - i/N (t_max - t_clean). Where clean data is not on the schedule's curve (ve), the last time is one step
    above t_min. On a schedule that is defined on a grid of S indices t_i = round(S - i S/N) - 1, as in diffusers.
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if schedule.steps is None:
            return equal_time_steps(schedule, steps, last_time(schedule))
        indices = np.arange(schedule.steps, 0, -schedule.steps / steps).round()[:steps]
        return schedule.t_clean + torch.from_numpy(indices)
