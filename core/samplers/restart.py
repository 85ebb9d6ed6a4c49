"""Restart sampling (Xu et al. 2023, arXiv:2306.14878, algorithm 1): Heun down, then K times forward and down again.

x_b = (alpha_b / alpha_a) x_a + n z, n^2 = sigma_b^2 - (alpha_b / alpha_a)^2 sigma_a^2, from the low level a to the high
level b

The forward process adds new noise in one large step, which reduces the accumulated errors; the ODE is then solved again
with short steps. The forward kernel is that of the schedule, so the method is valid on every schedule, not only where
alpha = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..types import BadInput
from ._numbers import Mask, any_true, elementwise_min, select_by_mask
from ._shared_steps import add_forward_noise, heun_step
from .base import PlanBuilder, PlannedSampler
from .plan import Float64, PlanLevel

_WARP = 7  # exponent of the levels inside the interval, as in EDM


class Restart(PlannedSampler):
    """Heun's method with restarts in an interval of rho = sigma / alpha.

    When `low` is reached, K times: up to `high` by the forward process, x_b = (alpha_b / alpha_a) x_a + n z with n^2 =
    sigma_b^2 - (alpha_b / alpha_a)^2 sigma_a^2, then Heun steps back down over levels that are evenly spaced in
    rho^(1/7). The interval is multiplied by a factor so that it begins at the level of the plan nearest to `low`. A
    plan of one step has no restart.

    Args:
        low: rho at which a restart begins, t_min of the paper.
        high: rho up to which noise is added, t_max of the paper.
        times: Number of repetitions, K.
        steps: Heun steps per restart; None: a quarter of the plan's steps, at least 2.
    """

    stochastic = True

    def __init__(self, low: float = 0.06, high: float = 0.3, times: int = 2, steps: int | None = None):
        if not 0 < low < high < float("inf"):
            raise BadInput(f"restart needs 0 < low < high, in rho = sigma / alpha, not {low} and {high}")
        if times < 1:
            raise BadInput(f"restart restarts at least once, not {times} times: without restarts it is heun")
        if steps is not None and steps < 1:
            raise BadInput(f"a restart takes at least 1 step, not {steps}; leave it out for a quarter of the steps")
        self.low, self.high, self.times, self.steps = low, high, times, steps

    def draft(self, builder: PlanBuilder) -> None:
        x, start_index = builder.start(), self._start_index(builder.levels)
        for i, (s, t) in enumerate(builder.pairs()):
            top = elementwise_min(t.rho * (self.high / self.low), builder.levels[0].rho)
            mask = (start_index == i + 1) & (top > t.rho)
            if not any_true(mask):
                x = heun_step(builder, x, s, t)
                continue
            x = heun_step(builder, x, s, t, builder.point)
            inner = self._levels_down(builder, s, t, top, mask)
            for k in range(self.times):
                x = builder.point(add_forward_noise(builder, x, t, inner[0], ("restart", i, k)), inner[0])
                for a, b in pairwise(inner[:-1]):
                    x = heun_step(builder, x, a, b, builder.point)
                x = heun_step(builder, x, inner[-2], t, builder.step if k == self.times - 1 else builder.point)

    def _start_index(self, levels: Sequence[PlanLevel]) -> Float64:
        """Index of the inner level nearest to `low`; 0 where there is none."""
        candidates = [np.full_like(levels[0].rho, np.inf)]
        for before, level in pairwise(levels[:-1]):
            distance = abs(np.log(level.rho / self.low))
            candidates.append(select_by_mask((level.sigma > 0) & (level.rho < before.rho), distance, np.inf))
        distances = np.stack(np.broadcast_arrays(*candidates))
        return np.where(np.isfinite(distances.min(0)), distances.argmin(0), 0)

    def _levels_down(
        self, builder: PlanBuilder, s: PlanLevel, t: PlanLevel, top: Float64, mask: Mask
    ) -> list[PlanLevel]:
        """Levels from the top down to t; elements without a restart stay at t."""
        count = self.steps or max(2, (len(builder.levels) - 1) // 4)
        ends = [np.exp(np.log(select_by_mask(mask, rho, 1.0)) / _WARP) for rho in (top, t.rho)]
        inner = []
        for j in range(count):
            warped, rho = ends[0] + (ends[1] - ends[0]) * (j / count), 1.0
            for _ in range(_WARP):
                rho = rho * warped
            (level_j,) = builder.levels_of_rho([rho])
            # A plan treats an unchanged level as an element that does not move: a level equal to s is shifted by 1e-9.
            same = (level_j.alpha == s.alpha) & (level_j.sigma == s.sigma)
            (level_j,) = builder.levels_of_rho([select_by_mask(same, rho * (1 - 1e-9), rho)])
            inner.append(level_j.where(mask, t))
        return [*inner, t]
