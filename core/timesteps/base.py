"""What a spacing is: where a sampler stops on its way from noise to data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..schedulers.base import NoiseLevel64, Schedule
from ..types import BadInput, NoiseLevel


class TimestepSpacing(ABC):
    """Chooses the times of a sampler's steps."""

    @abstractmethod
    def times(self, schedule: Schedule, steps: int) -> Tensor:
        """(steps,) falling times in the schedule's units, float64, without the clean level that ends the list."""

    def levels(self, schedule: Schedule, steps: int) -> list[NoiseLevel64]:
        """steps + 1 levels: the times above, then clean data.

        The message names the spacing and the level that repeats or rises; none is dropped silently.

        Raises:
            BadInput: Unless they fall strictly.
        """
        if not isinstance(steps, Integral) or steps < 1:
            raise BadInput(f"steps must be at least 1, and whole, not {steps!r}")
        times = torch.as_tensor(self.times(schedule, steps), dtype=torch.float64)
        together = schedule.level(times)
        columns = (together.t.unbind(), together.alpha.unbind(), together.sigma.unbind())
        levels = [NoiseLevel64(*fields) for fields in zip(*columns, strict=True)]
        taus = together.tau.tolist()
        if taus[-1] != 0:
            levels.append(schedule.clean())
            taus.append(0.0)
        if not all(a > b for a, b in pairwise(taus)):
            check_falling(levels, name_of(self))
        return levels


def name_of(spacing: TimestepSpacing) -> str:
    """What messages call it: the name of its file, or of its class where the file has another name."""
    file = type(spacing).__module__.rpartition(".")[2].rstrip("_")
    return file if file.replace("_", "") == type(spacing).__name__.lower() else type(spacing).__name__


def check_falling(levels: Sequence[NoiseLevel], name: str = "") -> None:
    """Refuse an empty list, a level that is no number, and one that is not quieter than the one before.

    In a map single elements may keep their level, as long as some fall and none rises.

    Raises:
        BadInput: The message calls the list by `name`.
    """
    if len(levels) < 2:
        raise BadInput("a sampler needs at least two levels: where it starts and where it ends")
    taus = [_host(level.tau) for level in levels]
    for i, (before, after) in enumerate(pairwise(taus), 1):
        if isinstance(before, float) and isinstance(after, float):
            falls = before > after
        else:
            falls = bool(np.all(before >= after) and np.any(before > after))
        if falls:
            continue
        if not np.all(np.isfinite(before) & np.isfinite(after)):
            what = "or the one before it is not a finite number"
        elif np.any(before < after):
            what = "is noisier than the level before it"
        else:
            what = "repeats the level before it; ask for fewer steps"
        t = torch.as_tensor(levels[i].t)
        where = f" (t = {t.item():g})" if t.ndim == 0 else ""
        whose = f"{name}: " if name else ""
        raise BadInput(f"{whose}level {i} of {len(levels) - 1}{where} {what}: levels must fall strictly")


def _host(tau: Any) -> Any:
    """A float or a numpy array of tau."""
    if isinstance(tau, Tensor):
        return tau.item() if tau.ndim == 0 else tau.detach().cpu().numpy()
    return tau if isinstance(tau, np.ndarray) and tau.ndim else float(tau)


def whole(t: Tensor, schedule: Schedule) -> Tensor:
    """Times as the schedule counts them: rounded to whole indices on one that is defined on a grid."""
    if schedule.steps is None:
        return t
    return torch.round(t - schedule.t_clean) + schedule.t_clean


def stepped(schedule: Schedule, steps: int, end: float) -> Tensor:
    """Equal steps in time from t_max towards `end`, which the list leaves out: (steps,) float64."""
    return schedule.t_max - torch.arange(steps, dtype=torch.float64) / steps * (schedule.t_max - end)


def last_time(schedule: Schedule) -> float:
    """Where equal steps in time end: at clean, or at t_min where clean is off the schedule's curve (ve)."""
    clean = torch.tensor(schedule.t_clean, dtype=torch.float64)
    return schedule.t_clean if schedule.sigma(clean) == 0 else schedule.t_min


Curve = Callable[[Tensor, Tensor, Tensor], Tensor]


def spread(
    spacing: TimestepSpacing, schedule: Schedule, steps: int, highest: float | None, lowest: float | None, curve: Curve
) -> Tensor:
    """Times of the levels rho = curve(first, last, ramp), the ramp running evenly from 0 to 1: (steps,) float64.

    first and last are `highest` and `lowest`, else sigma / alpha where the schedule starts and ends. Where it starts at
    alpha = 0 that level, which no curve reaches, is visited first, exactly, and the curve has the other steps - 1 from
    rho = steps on. In tau the first step is then as long as `trailing`'s on rectified flow, and shrinks as 1 / steps: a
    fixed rho there leaves an error that more steps do not reduce.

    Raises:
        BadInput: Unless 0 < last < first <= where the schedule starts.
    """
    name = name_of(spacing)
    first, last = rho_range(schedule, highest, lowest, name)
    if not torch.isfinite(first):
        if not last < steps:
            raise BadInput(f"{name}'s rho_min {last:g} is above rho = {steps}, its second level here: give rho_max too")
        rho = curve(last.new_tensor(float(steps)), last, torch.linspace(0, 1, steps - 1, dtype=torch.float64))
        return torch.cat([last.new_tensor([schedule.t_max]), schedule.t_of_rho(rho)])
    times = schedule.t_of_rho(curve(first, last, torch.linspace(0, 1, steps, dtype=torch.float64)))
    if highest is None:
        times[0] = schedule.t_max  # exactly, not by way of rho
    return times


def rho_range(schedule: Schedule, highest: float | None, lowest: float | None, name: str) -> tuple[Tensor, Tensor]:
    """(first, last) sigma / alpha: what was asked for, else the schedule's ends; first is infinite at alpha = 0."""
    ends = schedule.level(torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64))
    limit, floor = ends.rho
    first = limit if highest is None else torch.as_tensor(highest, dtype=torch.float64)
    last = floor if lowest is None else torch.as_tensor(lowest, dtype=torch.float64)
    if highest is not None and not torch.isfinite(first):
        raise BadInput(f"{name}'s rho_max is a finite number, not {highest}; leave it out to start where schedules do")
    if not 0 < last < first or first > limit * (1 + 1e-9):
        raise BadInput(
            f"{name} needs 0 < rho_min < rho_max <= {limit:g}, where this schedule starts, not {last:g} and {first:g} "
            f"(its own rho_min is {floor:g})"
        )
    return first, last
