"""Times given as a list, for example optimised for one network."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from .base import TimestepSpacing


class Explicit(TimestepSpacing):
    """The times of a list, then clean data.

    Args:
        times: Decreasing times in the schedule's units; the clean time may be omitted.
    """

    def __init__(self, times: list[float]):
        if not times:
            raise BadInput("explicit needs at least one time")
        self.listed = [float(t) for t in times]

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        times = [t for t in self.listed if t != schedule.t_clean]
        if len(times) != steps:
            raise BadInput(f"explicit lists {len(times)} times: set steps to {len(times)}, not {steps}")
        for t in times:
            if not schedule.t_clean < t <= schedule.t_max:
                limits = f"above {schedule.t_clean:g} and at most {schedule.t_max:g}"
                raise BadInput(f"explicit's time {t:g} is not in the schedule: times are {limits}")
        return torch.tensor(times, dtype=torch.float64)
