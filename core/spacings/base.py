"""What a spacing is: where a sampler stops on its way from noise to data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..schedulers.base import ExactLevel, Schedule
from ..types import BadInput, Level


class Spacing(ABC):
    """Chooses the times of a sampler's steps."""

    @abstractmethod
    def times(self, schedule: Schedule, steps: int) -> Tensor:
        """(steps,) falling times in the schedule's units, float64, without the clean level that ends the list."""

    def levels(self, schedule: Schedule, steps: int) -> list[ExactLevel]:
        """steps + 1 levels: the times above, then clean data. Raises BadInput unless they fall strictly."""
        if steps < 1:
            raise BadInput(f"steps must be at least 1, not {steps}")
        times = torch.as_tensor(self.times(schedule, steps), dtype=torch.float64)
        levels = [schedule.level(t) for t in times]
        if levels[-1].sigma != 0:
            levels.append(schedule.clean())
        check_falling(levels)
        return levels


def check_falling(levels: Sequence[Level]) -> None:
    """Refuse an empty list, a level that is no number, and one that is not quieter than the one before.

    In a map single elements may keep their level, as long as some fall and none rises.
    """
    if len(levels) < 2:
        raise BadInput("a sampler needs at least two levels: where it starts and where it ends")
    for i, (a, b) in enumerate(pairwise(levels), 1):
        before, after = torch.as_tensor(a.tau), torch.as_tensor(b.tau)
        if bool((before >= after).all()) and bool((before > after).any()):
            continue
        if not bool((torch.isfinite(before) & torch.isfinite(after)).all()):
            what = "or the one before it is not a finite number"
        elif bool((before < after).any()):
            what = "is noisier than the level before it"
        else:
            what = "repeats the level before it; ask for fewer steps"
        t = torch.as_tensor(b.t)
        where = f" (t = {t.item():g})" if t.ndim == 0 else ""
        raise BadInput(f"level {i} of {len(levels) - 1}{where} {what}: levels must fall strictly")


def whole(t: Tensor, schedule: Schedule) -> Tensor:
    """Times as the schedule counts them: rounded to whole indices on one that is defined on a grid."""
    if schedule.steps is None:
        return t
    return torch.round(t - schedule.t_clean) + schedule.t_clean


def rho_range(schedule: Schedule, highest: float | None, lowest: float | None, name: str) -> tuple[Tensor, Tensor]:
    """(first, last) sigma / alpha: what was asked for, else the schedule's ends. BadInput unless finite and falling."""
    ends = schedule.level(torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64))
    first, last = ends.rho
    limit, floor = first, last
    if highest is not None:
        first = torch.as_tensor(highest, dtype=torch.float64)
    if lowest is not None:
        last = torch.as_tensor(lowest, dtype=torch.float64)
    if not torch.isfinite(first):
        raise BadInput(
            f"{name} needs a finite first level, and this schedule starts at alpha = 0: set rho_max (80, say), "
            "or use linspace or trailing, which start there exactly"
        )
    if not 0 < last < first or first > limit * (1 + 1e-9):
        raise BadInput(
            f"{name} needs 0 < rho_min < rho_max <= {limit:g}, where this schedule starts, not {last:g} and {first:g} "
            f"(its own rho_min is {floor:g})"
        )
    return first, last
