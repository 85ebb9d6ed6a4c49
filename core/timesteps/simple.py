"""Simple: every k-th entry of the table of levels, starting at the noisiest (ComfyUI's simple_scheduler).

t_i = t_max - floor(i S / N) on a grid of S indices

It differs from `trailing` only in the rounding on a grid: down instead of to the nearest index.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing, equal_time_steps, last_time


class Simple(TimestepSpacing):
    """Every k-th index of a schedule's grid, starting at the noisiest; without a grid, the same as trailing.

    t_i = t_max - floor(i S / N) on a grid of S indices, else t_max - i/N (t_max - t_clean).
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if schedule.steps is None:
            return equal_time_steps(schedule, steps, last_time(schedule))
        skipped = torch.arange(steps, dtype=torch.int64) * schedule.steps // steps
        return schedule.t_max - skipped.double()
