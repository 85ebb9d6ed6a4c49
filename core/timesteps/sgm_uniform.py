"""SGM uniform: equal steps in time to t_min, which clean replaces.

Stability AI's generative-models (LegacyDDPMDiscretization); ComfyUI has it under this name, with times between the
indices of a grid where the original, and this, take the index below.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing, stepped


class SGMUniform(TimestepSpacing):
    """Equal steps in time from t_max to t_min, the last of them going on to clean.

    t_i = t_max - i/N (t_max - t_min); the whole index below on a schedule that is defined on a grid.
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if schedule.steps is None:
            return stepped(schedule, steps, schedule.t_min)
        # In whole numbers, for a product of rounded quotients may fall just below the index that it means.
        span = schedule.steps - 1
        return schedule.t_min + (span * torch.arange(steps, 0, -1, dtype=torch.int64) // steps).double()
