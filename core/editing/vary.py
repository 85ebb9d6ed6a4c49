"""Variations (Meng et al. 2022, "SDEdit", arXiv:2108.01073): noise is added, then the usual sampling follows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..samplers.base import Sampler
from ..schedulers.base import Schedule
from ..timesteps.base import whole
from ..types import BadInput, NoiseLevel, expand
from ..util.rng import Noise
from .base import Course, Edit

_SHORTEST = 0.25  # of the step it lies in: what is left of a step that the start cuts; less joins the next one


class Vary(Edit):
    """Starts at alpha y + sigma z on a level within the run.

    The level is the one at tau = strength tau_max, with tau = sigma / (alpha + sigma): strength means the same on every
    schedule. 0 gives y itself; 1 is the run without the edit, which does not depend on y.

    Args:
        source: y (B, C, *spatial), unit variance.
        strength: 0 to 1.
    """

    def __init__(self, source: Tensor, strength: float = 0.5):
        if not 0 <= strength <= 1:
            raise BadInput(f"strength lies between 0 (nothing changes) and 1 (all is new), not {strength}")
        self.source, self.strength = source, float(strength)

    def course(self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Course:
        if self.strength == 1:
            return sampler, levels
        if self.strength == 0:
            return sampler, levels[-1:]
        if sampler.adaptive:
            return sampler, [self._begin(schedule, levels), levels[-1]]
        return sampler, cut(levels, self._begin(schedule, levels))

    def _begin(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> NoiseLevel:
        tau = self.strength * torch.as_tensor(levels[0].tau, dtype=torch.float64)
        t = whole(schedule.t_of_rho(tau / (1 - tau)), schedule)
        return schedule.level(t)

    def start(self, x: Tensor, level: NoiseLevel, noise: Noise) -> Tensor:
        return x if self.strength == 1 else x + expand(level.alpha, x) * self.source.to(x)


def cut(levels: Sequence[NoiseLevel], begin: NoiseLevel) -> list[NoiseLevel]:
    """The levels from `begin` on: `begin`, then those of the list that are quieter by enough for a step."""
    kept: list[NoiseLevel] = [begin]
    for before, level in pairwise(levels):
        step = float(torch.as_tensor(before.tau)) - float(torch.as_tensor(level.tau))
        if float(torch.as_tensor(begin.tau)) - float(torch.as_tensor(level.tau)) >= _SHORTEST * step:
            kept.append(level)
    if len(kept) == 1:
        kept.append(levels[-1])
    return kept
