"""Shifted: the levels of another timestep spacing moved to higher noise (Esser et al. 2024, arXiv:2403.03206, eq. 23).

rho' = shift rho

The coarse structure of large images is visible at noise levels that hide that of small images, so their steps are
placed at higher noise.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from ..util.annotations import ComponentKind
from .base import TimestepSpacing
from .trailing import Trailing


class Shifted(TimestepSpacing):
    """The levels of another timestep spacing with rho = sigma / alpha multiplied by a factor; the first level stays.

    1/rho' - q = (1/rho - q) / shift, with q = alpha / sigma at the start of the schedule. If it starts at alpha = 0,
    then q = 0 and rho' = shift rho; otherwise the map leaves the start unchanged, so that no level is outside the
    schedule.

    A schedule with its own shift is refused, because the shift would be applied twice.

    Args:
        timesteps: The timestep spacing whose levels are shifted; null: trailing.
        shift: Values above 1 put more steps at high noise.
    """

    def __init__(
        self, timesteps: Annotated[TimestepSpacing | None, ComponentKind("timesteps")] = None, shift: float = 3.0
    ):
        if shift <= 0:
            raise BadInput(f"shifted's shift is positive (1: none), not {shift}")
        self.timesteps: TimestepSpacing = Trailing() if timesteps is None else timesteps
        if not isinstance(self.timesteps, TimestepSpacing):
            raise BadInput(f"shifted's timesteps is an object, such as Karras(), not {timesteps!r}")
        if isinstance(self.timesteps, Shifted):
            raise BadInput("shifted takes a timestep spacing that is not shifted itself: multiply the two shifts")
        self.shift = shift

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        own_shift = float(getattr(schedule, "shift", 1.0))
        if own_shift != 1:
            raise BadInput(
                f"the schedule is shifted by {own_shift:g} itself, and shifted would shift it twice: use the inner "
                "timestep spacing without shifted, or set the schedule's shift to 1"
            )
        before = schedule.level(torch.as_tensor(self.timesteps.times(schedule, steps), dtype=torch.float64))
        start = schedule.level(schedule.t_max)
        q = start.alpha / start.sigma
        rho = self.shift * before.sigma / (before.alpha + (self.shift - 1) * q * before.sigma)
        return torch.where(before.t == schedule.t_max, schedule.t_max, schedule.t_of_rho(rho))
