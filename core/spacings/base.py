"""What a spacing is: where a sampler stops on its way from noise to data."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput, Level


class Spacing(ABC):
    """Chooses the times of a sampler's steps."""

    @abstractmethod
    def times(self, schedule: Schedule, steps: int) -> Tensor:
        """(steps,) falling times in the schedule's units, float64; the clean level that ends the list is not among them."""

    def levels(self, schedule: Schedule, steps: int) -> list[Level]:
        """steps + 1 levels: the times above, then clean data. Raises BadInput unless they fall strictly."""
        if steps < 1:
            raise BadInput(f"steps must be at least 1, not {steps}")
        times = torch.as_tensor(self.times(schedule, steps), dtype=torch.float64)
        levels = [schedule.level(t) for t in times]
        if levels[-1].sigma != 0:
            levels.append(schedule.clean())
        check_falling(levels)
        return levels


def check_falling(levels: list[Level]) -> None:
    """Refuse an empty list, a level that is not quieter than the one before, and a level that is no number."""
    if len(levels) < 2:
        raise BadInput("a sampler needs at least two levels: where it starts and where it ends")
    for i, (a, b) in enumerate(zip(levels, levels[1:], strict=False), 1):
        if not bool(torch.as_tensor(a.tau > b.tau).all()):
            same = bool(torch.as_tensor(a.tau == b.tau).any())
            what = "repeats the level before it" if same else "is noisier than the level before it"
            raise BadInput(f"level {i} of {len(levels) - 1} (t = {b.t}) {what}: levels must fall strictly; ask for fewer steps")
