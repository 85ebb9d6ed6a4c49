"""SGM uniform: equal steps in time from t_max to t_min, where t_min is replaced by clean data.

t_i = t_max - i/N (t_max - t_min)

From Stability AI's generative-models (LegacyDDPMDiscretization). ComfyUI has it under this name, with times between the
indices of a grid; the original, and this class, round down to an index.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing, equal_time_steps


class SGMUniform(TimestepSpacing):
    """Equal steps in time from t_max to t_min; the last step goes to clean data instead.

    t_i = t_max - i/N (t_max - t_min); rounded down to an index on a schedule that is defined on a grid.
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if schedule.steps is None:
            return equal_time_steps(schedule, steps, schedule.t_min)
        # In integers: a product of rounded quotients could be slightly below the intended index.
        span = schedule.steps - 1
        return schedule.t_min + (span * torch.arange(steps, 0, -1, dtype=torch.int64) // steps).double()
