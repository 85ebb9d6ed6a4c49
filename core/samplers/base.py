"""Base class of samplers: schedule and levels -> a plan, which one loop runs.

A sampler is written like the algorithm of its paper, on symbols:

    x = builder.start()
    for s, t in builder.pairs():                       # level s -> level t
        D = builder.denoise(x)                         # an estimate of x0, evaluated at the level of x
        x = builder.step((t.sigma / s.sigma) * x + (t.alpha - s.alpha * t.sigma / s.sigma) * D, t)

`builder` records rows x_i = sum_j a_j x_j + sum_j b_j D_j + sum_k n_k z_k. The coefficients are float64 numbers that
are known before the first call of the network; the loop (solver.py) only adds tensors.

While a plan is built, the fields of a level are numpy's float64: numbers, or arrays (B,) or (B, 1, *spatial) where
levels differ within a batch. Write samplers with numpy's functions, and with `select_by_mask` and
`combination.masked(mask)` instead of `if`; then both cases work. A constant map gives bit for bit the result of the
number if only +, -, *, /, np.sqrt, np.exp, np.expm1, np.log and np.log1p are used (`a * a` instead of `a**2`: powers
are rounded differently for arrays). An element of a map whose level does not change keeps its value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import Conditioning, Denoiser, NoiseLevel
from ._cache import cached_plan
from ._coefficients import first_order_step, lambda_step
from ._noises import Noises
from ._numbers import select_by_mask
from ._stages import flow_velocity, stage_levels_in_lambda, stage_levels_in_tau, velocity_step
from .plan import LinearCombination, Plan, PlanBuilder, PlanRow, Symbol
from .solver import Solution, SolverInputs, StepProgress, iterate_plan, run_plan, trace_plan

__all__ = [
    "LinearCombination",
    "Plan",
    "PlanBuilder",
    "PlanRow",
    "PlannedSampler",
    "Sampler",
    "Solution",
    "SolverInputs",
    "StepProgress",
    "Symbol",
    "first_order_step",
    "flow_velocity",
    "iterate_plan",
    "lambda_step",
    "run_plan",
    "select_by_mask",
    "stage_levels_in_lambda",
    "stage_levels_in_tau",
    "trace_plan",
    "velocity_step",
]


class Sampler(ABC):
    """A solver of the reverse process. It stores options only: `plan` is a pure function of schedule and levels.

    Attributes:
        order: Order of convergence of a deterministic method: the error is O(step^order); None: stochastic.
        stochastic: Whether the sampler draws noise after the start.
        keeps_marginal: Whether, with exact estimates of x0, every point has noise of standard deviation sigma; False
            for a method that does not by design.
        adaptive: Whether `solve` chooses the levels between the first and the last during the run; `plan` then applies
            the method's step on given levels.
        converges: Whether the results with an exact denoiser converge to the data distribution as the number of steps
            grows; False for methods for distilled networks, whose output is a sample and not a mean.
    """

    order: int | None = None
    stochastic: bool = False
    keeps_marginal: bool = True
    adaptive: bool = False
    converges: bool = True

    @abstractmethod
    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The plan for these levels (decreasing noise, usually ending at clean data).

        Args:
            schedule: The noise schedule.
            levels: Levels that the sampler visits.

        Raises:
            BadInput: The levels are not valid for this method.
        """

    def solve(
        self,
        schedule: Schedule,
        levels: Sequence[NoiseLevel],
        denoiser: Denoiser,
        x: Tensor,
        conditions: Conditioning | None = None,
        noise: Noises = None,
        on_step: Callable[[StepProgress], None] | None = None,
    ) -> Solution:
        """Solve from x (B, C, *spatial) at levels[0] to levels[-1].

        Args:
            schedule: The noise schedule.
            levels: Levels that the sampler visits.
            denoiser: The denoiser.
            x: (B, C, *spatial), a point at levels[0].
            conditions: The conditions of each row.
            noise: The keyed noise of the batch, or a mapping key -> (B, C, *spatial) of noises drawn before.
            on_step: Called at the end of each step.

        Returns:
            The last point and the number of evaluations.
        """
        conditions = Conditioning() if conditions is None else conditions
        return self.integrate(schedule, levels, SolverInputs(denoiser, x, conditions, noise, on_step))

    def integrate(self, schedule: Schedule, levels: Sequence[NoiseLevel], inputs: SolverInputs) -> Solution:
        """Implementation of `solve`: builds the plan or takes it from the cache, and runs it.

        Adaptive methods override it.
        """
        plan = cached_plan(self, schedule, levels)
        x = run_plan(plan, inputs.denoiser, inputs.x, inputs.conditions, inputs.noise, inputs.on_step)
        return Solution(x, (plan.nfe,) * len(x))


class PlannedSampler(Sampler):
    """A sampler that is written with a plan builder."""

    @abstractmethod
    def draft(self, builder: PlanBuilder) -> None:
        """Write the method's rows: `builder.start`, then one `builder.step` per pair of levels."""

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel], rising: bool = False) -> Plan:
        """The plan for these levels.

        Args:
            schedule: The noise schedule.
            levels: Levels of decreasing noise, usually ending at clean data.
            rising: Whether the noise increases instead: from data to noise.

        Raises:
            BadInput: The levels are not strictly decreasing (or increasing), or are not valid for this method.
        """
        with np.errstate(all="ignore"):  # h is infinite at alpha = 0 and sigma = 0: each method handles it
            builder = PlanBuilder(schedule, levels, rising)
            self.draft(builder)
            return builder.finish()
