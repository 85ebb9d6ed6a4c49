"""Restart sampling (Xu et al. 2023, arXiv:2306.14878, algorithm 1): Heun down, then K times forward and down again.

The forward process adds fresh noise in one move, which contracts the errors made so far, and the ODE that follows has
short steps. The forward kernel is that of the schedule, so it holds on every process, not for data plus noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..types import BadInput
from ._moves import forward, heun
from ._numbers import Mask, lower, some, where
from .base import PlanBuilder, PlannedSampler
from .plan import Float64, PlanLevel

_WARP = 7  # exponent of the levels inside, as in EDM


class Restart(PlannedSampler):
    """Heun's method with restarts in an interval of rho = sigma / alpha.

    On reaching `low`, K times: up to `high` by the forward process, x_b = (alpha_b / alpha_a) x_a + n z with n^2 =
    sigma_b^2 - (alpha_b / alpha_a)^2 sigma_a^2, then Heun back down over levels even in rho^(1/7). The interval is
    moved, as a factor of rho, so that it begins at the level of the list nearest to `low`; a single step has none.

    Args:
        low: rho where a restart begins, t_min of the paper.
        high: rho that it leads up to, t_max.
        times: How often, K.
        steps: Heun steps of a restart; None: a quarter of the list's, at least 2.
    """

    stochastic = True

    def __init__(self, low: float = 0.06, high: float = 0.3, times: int = 2, steps: int | None = None):
        if not 0 < low < high < float("inf"):
            raise BadInput(f"restart needs 0 < low < high, in rho = sigma / alpha, not {low} and {high}")
        if times < 1:
            raise BadInput(f"restart restarts at least once, not {times} times: without restarts it is heun")
        if steps is not None and steps < 1:
            raise BadInput(f"a restart takes at least 1 step, not {steps}; leave it out for a quarter of the list's")
        self.low, self.high, self.times, self.steps = low, high, times, steps

    def draft(self, builder: PlanBuilder) -> None:
        x, begins = builder.start(), self._begins(builder.levels)
        for i, (s, t) in enumerate(builder.pairs()):
            top = lower(t.rho * (self.high / self.low), builder.levels[0].rho)
            here = (begins == i + 1) & (top > t.rho)
            if not some(here):
                x = heun(builder, x, s, t)
                continue
            x = heun(builder, x, s, t, builder.point)
            rungs = self._rungs(builder, s, t, top, here)
            for k in range(self.times):
                x = builder.point(forward(builder, x, t, rungs[0], ("restart", i, k)), rungs[0])
                for a, b in pairwise(rungs[:-1]):
                    x = heun(builder, x, a, b, builder.point)
                x = heun(builder, x, rungs[-2], t, builder.step if k == self.times - 1 else builder.point)

    def _begins(self, levels: Sequence[PlanLevel]) -> Float64:
        """The number of the level nearest to `low`, of those that a step leads to and one leaves; 0 where none is."""
        away = [np.full_like(levels[0].rho, np.inf)]
        for before, level in pairwise(levels[:-1]):
            distance = abs(np.log(level.rho / self.low))
            away.append(where((level.sigma > 0) & (level.rho < before.rho), distance, np.inf))
        distances = np.stack(np.broadcast_arrays(*away))
        return np.where(np.isfinite(distances.min(0)), distances.argmin(0), 0)

    def _rungs(self, builder: PlanBuilder, s: PlanLevel, t: PlanLevel, top: Float64, here: Mask) -> list[PlanLevel]:
        """Levels from the top down to t; elements that do not restart here wait at t."""
        count = self.steps or max(2, (len(builder.levels) - 1) // 4)
        ends = [np.exp(np.log(where(here, rho, 1.0)) / _WARP) for rho in (top, t.rho)]
        rungs = []
        for j in range(count):
            warped, rho = ends[0] + (ends[1] - ends[0]) * (j / count), 1.0
            for _ in range(_WARP):
                rho = rho * warped
            (made,) = builder.levels_of_rho([rho])
            # A plan reads s's own level as an element that waits; one that comes back to it is put a hair beside it.
            same = (made.alpha == s.alpha) & (made.sigma == s.sigma)
            (made,) = builder.levels_of_rho([where(same, rho * (1 - 1e-9), rho)])
            rungs.append(made.where(here, t))
        return [*rungs, t]
