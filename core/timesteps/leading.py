"""Leading: equal steps in time, counted from the clean end (Lin et al. 2024, arXiv:2305.08891, table 2).

t_i = t_min + offset + (N-1-i) (t_max - t_min)/N
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from .base import TimestepSpacing


class Leading(TimestepSpacing):
    """Equal steps in time counted from t_min, so the first time is below t_max.

    t_i = t_min + offset + (N-1-i) (t_max - t_min)/N. On a schedule that is defined on a grid the step is the whole
    number floor(steps of the schedule / N). For networks that were published with this timestep spacing.

    Args:
        offset: Added to every time, in the schedule's units; latent diffusion uses 1.
    """

    def __init__(self, offset: float = 0.0):
        self.offset = offset

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if steps < 2:
            raise BadInput("leading with one step would start from clean data: use trailing, or more steps")
        stride = (schedule.t_max - schedule.t_min) / steps if schedule.steps is None else schedule.steps // steps
        t = schedule.t_min + self.offset + stride * torch.arange(steps - 1, -1, -1, dtype=torch.float64)
        if bool((t > schedule.t_max).any()) or bool((t < schedule.t_min).any()):
            raise BadInput(
                f"leading's offset {self.offset:g} leaves the schedule, {schedule.t_min:g} to {schedule.t_max:g}"
            )
        return t
