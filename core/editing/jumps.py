"""Resampling: jumps back up to more noise, as rows of a plan (RePaint: Lugmayr et al. 2022, arXiv:2201.09865).

Figure 9 and algorithm 1 of the paper, at any number of steps and for any sampler with steps of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np

from ..samplers.base import Plan, PlanBuilder, Row, Sampler
from ..samplers.plan import RepeatedNoise, with_last_uses
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel


class Resampled(Sampler):
    """Runs every `jump` steps of a sampler `times` times, going up again by the forward process in between.

    x_b = (alpha_b / alpha_a) x_a + n z, n^2 = sigma_b^2 - (alpha_b / alpha_a)^2 sigma_a^2. The last stretch, which ends
    clean, is run once. A multistep method begins anew with every run, and each run draws noise of its own, a Brownian
    path of its own included. Costs about `times` times the evaluations.

    Args:
        sampler: What runs each stretch.
        jump: Steps in a stretch.
        times: Runs of each stretch.

    Raises:
        BadInput: `jump` or `times` is below 1, or the sampler is adaptive.
    """

    stochastic = True

    def __init__(self, sampler: Sampler, jump: int = 4, times: int = 2):
        if jump < 1 or times < 1:
            raise BadInput(f"resampling jumps back 1 step or more and runs once or more, not {jump} and {times}")
        if sampler.adaptive:
            raise BadInput("resampling jumps by steps, and an adaptive sampler has none of its own: choose another")
        self.sampler, self.jump, self.times = sampler, jump, times

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The stretches' plans, joined."""
        rows: list[Row] = []
        last = len(levels) - 1
        for n, first in enumerate(range(0, last, self.jump)):
            end = min(first + self.jump, last)
            plan = self.sampler.plan(schedule, levels[first : end + 1])
            for repeat in range(self.times if end < last else 1):
                if repeat:
                    up = _up(schedule, levels[end], levels[first], RepeatedNoise(n, repeat, "up"))
                    rows = _appended(rows, up, lambda key: key)
                rows = _appended(rows, plan, lambda key, n=n, repeat=repeat: RepeatedNoise(n, repeat, key))
        return with_last_uses(rows)


def _up(schedule: Schedule, low: NoiseLevel, high: NoiseLevel, key: Hashable) -> Plan:
    """The forward process from a level up to a noisier one; elements whose level stays keep their value."""
    builder = PlanBuilder(schedule, [low, high], rising=True)
    ((a, b),) = builder.pairs()
    ratio = b.alpha / a.alpha
    fresh = np.sqrt(np.maximum(b.sigma * b.sigma - ratio * ratio * (a.sigma * a.sigma), 0.0))
    builder.point(builder.start() * ratio + builder.noise(key) * fresh, b)
    return builder.finish()


def _appended(rows: list[Row], plan: Plan, named: Callable[[Hashable], Hashable]) -> list[Row]:
    """The rows, then those of a plan that starts at the last of them; its noises get names of their own."""
    if not rows:
        rows = [plan.rows[0]]
    else:
        rows = [*rows[:-1], replace(rows[-1], evaluate=rows[-1].evaluate or plan.rows[0].evaluate)]
    base = len(rows) - 1
    made = [
        Row(
            row.level,
            {base + j: c for j, c in row.x.items()},
            {base + j: c for j, c in row.d.items()},
            {named(key): c for key, c in row.z.items()},
            row.evaluate,
            row.step,
        )
        for row in plan.rows[1:]
    ]
    return [*rows, *made]
