"""Resampling of RePaint (Lugmayr et al. 2022, arXiv:2201.09865): jumps back to higher noise, as rows of a plan.

Algorithm 1 and figure 9 of the paper, for any number of steps and any sampler with fixed steps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np

from ..samplers.base import Plan, PlanBuilder, PlanRow, Sampler
from ..samplers.plan import RepeatedNoiseKey, plan_from_rows
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel
from ..util.limits import MOST_ROWS


class RePaintSampler(Sampler):
    """Runs each segment of `jump` steps `times` times; between two runs the forward process adds the noise again.

    From level a up to level b:

        x_b = (alpha_b / alpha_a) x_a + n z,    n^2 = sigma_b^2 - (alpha_b / alpha_a)^2 sigma_a^2

    The last segment, which ends at clean data, is run once. In every run a multistep method restarts without history,
    and all noise is drawn independently, Brownian paths included. The number of evaluations grows about `times`-fold.

    Args:
        sampler: The sampler of each segment.
        jump: Number of steps in a segment.
        times: Number of runs of each segment.

    Raises:
        BadInput: `jump` or `times` is below 1, or the sampler is adaptive. `plan` refuses more than `MOST_ROWS` steps.
    """

    stochastic = True

    def __init__(self, sampler: Sampler, jump: int = 4, times: int = 2):
        if jump < 1 or times < 1:
            raise BadInput(f"resampling jumps back 1 step or more and runs once or more, not {jump} and {times}")
        if sampler.adaptive:
            raise BadInput("resampling repeats fixed steps, which an adaptive sampler does not have: choose another")
        self.sampler, self.jump, self.times = sampler, jump, times

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The concatenated plans of all segments."""
        rows: list[PlanRow] = []
        last = len(levels) - 1
        if last * self.times > MOST_ROWS:
            raise BadInput(
                f"{last} steps run {self.times} times are {last * self.times}, and at most {MOST_ROWS} are possible: "
                "choose fewer steps or a smaller resample"
            )
        for n, first in enumerate(range(0, last, self.jump)):
            end = min(first + self.jump, last)
            plan = self.sampler.plan(schedule, levels[first : end + 1])
            for repeat in range(self.times if end < last else 1):
                if repeat:
                    up = _up(schedule, levels[end], levels[first], RepeatedNoiseKey(n, repeat, "up"))
                    rows = _appended(rows, up, lambda key: key)
                rows = _appended(rows, plan, lambda key, n=n, repeat=repeat: RepeatedNoiseKey(n, repeat, key))
        return plan_from_rows(rows)


def _up(schedule: Schedule, low: NoiseLevel, high: NoiseLevel, key: Hashable) -> Plan:
    """The forward process from a level to a noisier one; elements whose level does not change keep their value."""
    builder = PlanBuilder(schedule, [low, high], rising=True)
    ((a, b),) = builder.pairs()
    ratio = b.alpha / a.alpha
    fresh = np.sqrt(np.maximum(b.sigma * b.sigma - ratio * ratio * (a.sigma * a.sigma), 0.0))
    builder.point(builder.start() * ratio + builder.noise(key) * fresh, b)
    return builder.finish()


def _appended(rows: list[PlanRow], plan: Plan, named: Callable[[Hashable], Hashable]) -> list[PlanRow]:
    """Append a plan that starts at the last of `rows`; `named` renames its noise keys."""
    if not rows:
        rows = [plan.rows[0]]
    else:
        rows = [*rows[:-1], replace(rows[-1], evaluate=rows[-1].evaluate or plan.rows[0].evaluate)]
    base = len(rows) - 1
    shifted = [
        PlanRow(
            row.level,
            {base + j: c for j, c in row.x.items()},
            {base + j: c for j, c in row.d.items()},
            {named(key): c for key, c in row.z.items()},
            row.evaluate,
            row.step,
        )
        for row in plan.rows[1:]
    ]
    return [*rows, *shifted]
