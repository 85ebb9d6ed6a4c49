"""Equal steps in time counted from the noisy end (Lin et al. 2024, arXiv:2305.08891, table 2)."""

from __future__ import annotations

from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing, last_time, stepped, whole


class Trailing(TimestepSpacing):
    """Equal steps in time from t_max, the last of them to clean: the usual grid of flow models.

    t_i = t_max - i/N (t_max - t_clean). Where clean is off the schedule's curve (ve) the grid ends one step above
    t_min. Whole indices on a grid.
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        return whole(stepped(schedule, steps, last_time(schedule)), schedule)
