"""Base class of timestep spacings: the times, from noise to data, at which a sampler evaluates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..schedulers.base import NoiseLevel64, Schedule
from ..types import BadInput


class TimestepSpacing(ABC):
    """Chooses the times of a sampler's steps."""

    @abstractmethod
    def times(self, schedule: Schedule, steps: int) -> Tensor:
        """(steps,) decreasing times in the schedule's units, float64, without the clean level at the end."""

    def levels(self, schedule: Schedule, steps: int) -> list[NoiseLevel64]:
        """steps + 1 levels: the times above, then clean data.

        No level is dropped silently: the message names the timestep spacing and the level that repeats or increases.

        Args:
            schedule: The noise schedule.
            steps: Number of steps.

        Raises:
            BadInput: The levels are not strictly decreasing.
        """
        if not isinstance(steps, Integral) or steps < 1:
            raise BadInput(f"steps must be at least 1, and whole, not {steps!r}")
        times = torch.as_tensor(self.times(schedule, steps), dtype=torch.float64)
        all_levels = schedule.level(times)
        columns = (all_levels.t.unbind(), all_levels.alpha.unbind(), all_levels.sigma.unbind())
        levels = [NoiseLevel64(*fields) for fields in zip(*columns, strict=True)]
        taus = all_levels.tau.tolist()
        if taus[-1] != 0:
            levels.append(schedule.clean())
            taus.append(0.0)
        if not all(a > b for a, b in pairwise(taus)):
            check_levels_decrease(levels, timestep_spacing_name(self))
        return levels


def timestep_spacing_name(timesteps: TimestepSpacing) -> str:
    """The name in messages: that of its file, or of its class where the file has another name."""
    file = type(timesteps).__module__.rpartition(".")[2].rstrip("_")
    return file if file.replace("_", "") == type(timesteps).__name__.lower() else type(timesteps).__name__


class _Level(Protocol):
    """What `check_levels_decrease` reads: a NoiseLevel, or a level of a plan that is built."""

    @property
    def t(self) -> Any: ...

    @property
    def tau(self) -> Any: ...


def check_levels_decrease(levels: Sequence[_Level], name: str = "") -> None:
    """Refuse an empty list, a level that is not finite, and a level whose noise is not below that of the level before.

    In a map single elements may keep their level, as long as at least one decreases and none increases.

    Args:
        levels: The levels.
        name: The name of the list in the message.

    Raises:
        BadInput: The levels are not strictly decreasing.
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
            what = "repeats the level before it; use fewer steps"
        t = torch.as_tensor(levels[i].t)
        where = f" (t = {t.item():g})" if t.ndim == 0 else ""
        whose = f"{name}: " if name else ""
        raise BadInput(f"{whose}level {i} of {len(levels) - 1}{where} {what}: levels must fall strictly")


def _host(tau: Any) -> Any:
    """tau as a float or a numpy array."""
    if isinstance(tau, Tensor):
        return tau.item() if tau.ndim == 0 else tau.detach().cpu().numpy()
    return tau if isinstance(tau, np.ndarray) and tau.ndim else float(tau)


def round_to_grid(t: Tensor, schedule: Schedule) -> Tensor:
    """Times rounded to whole indices on a schedule that is defined on a grid; unchanged on others."""
    if schedule.steps is None:
        return t
    return torch.round(t - schedule.t_clean) + schedule.t_clean


def equal_time_steps(schedule: Schedule, steps: int, end: float) -> Tensor:
    """Equal steps in time from t_max towards `end`, which is not included: (steps,) float64."""
    return schedule.t_max - torch.arange(steps, dtype=torch.float64) / steps * (schedule.t_max - end)


def last_time(schedule: Schedule) -> float:
    """Where equal steps in time end: at clean data, or at t_min where clean data is off the schedule's curve (ve)."""
    clean = torch.tensor(schedule.t_clean, dtype=torch.float64)
    return schedule.t_clean if schedule.sigma(clean) == 0 else schedule.t_min


Curve = Callable[[Tensor, Tensor, Tensor], Tensor]


def times_of_curve(
    timesteps: TimestepSpacing,
    schedule: Schedule,
    steps: int,
    highest: float | None,
    lowest: float | None,
    curve: Curve,
) -> Tensor:
    """Times of the levels rho = curve(first, last, ramp), with a linear ramp from 0 to 1: (steps,) float64.

    first and last are `highest` and `lowest`, or sigma / alpha at the schedule's ends. Where the schedule starts at
    alpha = 0, no curve reaches this level: it is used exactly as the first level, and the curve gives the other steps -
    1 levels, starting at rho = steps. In tau the first step is then as long as that of `trailing` on rectified flow and
    shrinks as 1 / steps; with a fixed rho an error would remain that more steps do not reduce.

    Args:
        timesteps: The timestep spacing, for its name in messages.
        schedule: The noise schedule.
        steps: Number of steps.
        highest: rho of the first level; None: that of the schedule.
        lowest: rho of the last level; None: that of the schedule.
        curve: (first, last, ramp) -> rho.

    Raises:
        BadInput: Unless 0 < last < first <= rho at the start of the schedule.
    """
    name = timestep_spacing_name(timesteps)
    first, last = rho_range(schedule, highest, lowest, name)
    if not torch.isfinite(first):
        if not last < steps:
            raise BadInput(f"{name}'s rho_min {last:g} is above rho = {steps}, its second level here: give rho_max too")
        rho = curve(last.new_tensor(float(steps)), last, torch.linspace(0, 1, steps - 1, dtype=torch.float64))
        return torch.cat([last.new_tensor([schedule.t_max]), schedule.t_of_rho(rho)])
    times = schedule.t_of_rho(curve(first, last, torch.linspace(0, 1, steps, dtype=torch.float64)))
    if highest is None:
        times[0] = schedule.t_max  # exactly, without rounding through rho
    return times


def rho_range(schedule: Schedule, highest: float | None, lowest: float | None, name: str) -> tuple[Tensor, Tensor]:
    """(first, last) sigma / alpha: the given values, else the schedule's ends; first is infinite at alpha = 0."""
    ends = schedule.level(torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64))
    limit, floor = ends.rho
    first = limit if highest is None else torch.as_tensor(highest, dtype=torch.float64)
    last = floor if lowest is None else torch.as_tensor(lowest, dtype=torch.float64)
    if highest is not None and not torch.isfinite(first):
        raise BadInput(
            f"{name}'s rho_max is a finite number, not {highest}; leave it out to start where the schedule starts"
        )
    if not 0 < last < first or first > limit * (1 + 1e-9):
        raise BadInput(
            f"{name} needs 0 < rho_min < rho_max <= {limit:g}, where this schedule starts, not {last:g} and {first:g} "
            f"(its own rho_min is {floor:g})"
        )
    return first, last
