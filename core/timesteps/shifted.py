"""Shifted: another spacing's levels moved to higher noise (Esser et al. 2024, arXiv:2403.03206, eq. 23).

Large pictures keep their outlines at noise that drowns those of small ones, so their steps belong at higher noise.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from ..util.annotations import Kind
from .base import TimestepSpacing
from .trailing import Trailing


class Shifted(TimestepSpacing):
    """Another spacing's levels with rho = sigma / alpha multiplied by a factor; where the schedule starts stays.

    1/rho' - q = (1/rho - q) / shift, with q = alpha / sigma where the schedule starts. From alpha = 0, where q is 0,
    this is rho' = shift rho; elsewhere it is the same map as seen from there, so that no level leaves the schedule.

    A schedule that has a shift of its own is refused: the shift would count twice.

    Args:
        spacing: The spacing whose levels are shifted; null: trailing.
        shift: Above 1 spends more steps at high noise.
    """

    def __init__(self, spacing: Annotated[TimestepSpacing | None, Kind("timesteps")] = None, shift: float = 3.0):
        if shift <= 0:
            raise BadInput(f"shifted's shift is positive (1: none), not {shift}")
        self.spacing: TimestepSpacing = Trailing() if spacing is None else spacing
        if not isinstance(self.spacing, TimestepSpacing):
            raise BadInput(f"shifted's spacing is an object, such as Karras(), not {spacing!r}")
        if isinstance(self.spacing, Shifted):
            raise BadInput("shifted shifts a spacing that is not shifted itself: multiply the two shifts into one")
        self.shift = shift

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        own = float(getattr(schedule, "shift", 1.0))
        if own != 1:
            raise BadInput(
                f"the schedule is shifted by {own:g} itself, and shifted would shift it twice: use the spacing "
                "that it shifts alone, or set the schedule's shift to 1"
            )
        before = schedule.level(torch.as_tensor(self.spacing.times(schedule, steps), dtype=torch.float64))
        start = schedule.level(schedule.t_max)
        q = start.alpha / start.sigma
        rho = self.shift * before.sigma / (before.alpha + (self.shift - 1) * q * before.sigma)
        return torch.where(before.t == schedule.t_max, schedule.t_max, schedule.t_of_rho(rho))
