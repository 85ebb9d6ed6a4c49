"""Variations (Meng et al. 2022, "SDEdit", arXiv:2108.01073): noise is added, then the usual sampling follows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..samplers.base import Sampler
from ..schedulers.base import Schedule
from ..timesteps.base import round_to_grid
from ..types import BadInput, NoiseLevel, broadcast_like
from ..util.rng import KeyedNoise
from .base import Edit, SamplerAndLevels

_SHORTEST = 0.25  # shortest first step, as a share of the uncut step; a shorter one is merged with the next step


class VaryEdit(Edit):
    """Starts from alpha y + sigma z at an intermediate noise level.

    The level has tau = strength tau_max, with tau = sigma / (alpha + sigma), so that a strength has the same meaning on
    every schedule. Strength 0 returns y; strength 1 is sampling without the edit, which does not depend on y.

    Args:
        source: y (B, C, *spatial), of unit variance.
        strength: 0 to 1.

    Raises:
        BadInput: `strength` is outside of 0 to 1.
    """

    def __init__(self, source: Tensor, strength: float = 0.5):
        if not 0 <= strength <= 1:
            raise BadInput(f"strength is between 0 (nothing changes) and 1 (everything is new), not {strength}")
        self.source, self.strength = source, float(strength)

    def sampler_and_levels(
        self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]
    ) -> SamplerAndLevels:
        if self.strength == 1:
            return sampler, levels
        if self.strength == 0:
            return sampler, levels[-1:]
        if sampler.adaptive:
            return sampler, [self._begin(schedule, levels), levels[-1]]
        return sampler, levels_starting_at(levels, self._begin(schedule, levels))

    def _begin(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> NoiseLevel:
        tau = self.strength * torch.as_tensor(levels[0].tau, dtype=torch.float64)
        t = round_to_grid(schedule.t_of_rho(tau / (1 - tau)), schedule)
        return schedule.level(t)

    def start(self, x: Tensor, level: NoiseLevel, noise: KeyedNoise) -> Tensor:
        return x if self.strength == 1 else x + broadcast_like(level.alpha, x) * self.source.to(x)


def levels_starting_at(levels: Sequence[NoiseLevel], begin: NoiseLevel) -> list[NoiseLevel]:
    """`begin`, followed by the levels below it, except one that would make the first step too short."""
    result: list[NoiseLevel] = [begin]
    for before, level in pairwise(levels):
        step = float(torch.as_tensor(before.tau)) - float(torch.as_tensor(level.tau))
        if float(torch.as_tensor(begin.tau)) - float(torch.as_tensor(level.tau)) >= _SHORTEST * step:
            result.append(level)
    if len(result) == 1:
        result.append(levels[-1])
    return result
