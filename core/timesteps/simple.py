"""Simple: every k-th entry of the table of levels, from the noisiest (ComfyUI's simple_scheduler).

It is `trailing` but for the rounding on a grid: N-th parts of the table are cut off, not rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing, last_time, stepped


class Simple(TimestepSpacing):
    """Every k-th index of a schedule's grid, from the noisiest; without a grid, the same as trailing.

    t_i = t_max - floor(i S / N) on a grid of S indices, else t_max - i/N (t_max - t_clean).
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if schedule.steps is None:
            return stepped(schedule, steps, last_time(schedule))
        skipped = torch.arange(steps, dtype=torch.int64) * schedule.steps // steps
        return schedule.t_max - skipped.double()
