"""The error of a sampler for a given number of function evaluations, on problems with a known solution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from ..samplers.base import Plan, Sampler, run_plan
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel
from .base import AnalyticProblem
from .ode import random_start, solve_in_tau
from .orders import even_tau_levels

Levels = Callable[[Schedule, int], Sequence[NoiseLevel]]  # (schedule, steps) -> levels


@dataclass(frozen=True)
class ErrorAtNFE:
    """One point of the curve of error against evaluations.

    Attributes:
        asked: Number of evaluations allowed.
        nfe: Number of evaluations used: the largest that whole steps allow; for an adaptive sampler, the mean over
            samples.
        steps: Number of steps; 0 for an adaptive sampler.
        error: Root mean square error of the final x0 against the exact solution of the ODE from the same point.
    """

    asked: int
    nfe: int
    steps: int
    error: float


def plan_within_nfe(
    sampler: Sampler, schedule: Schedule, nfe: int, levels: Levels = even_tau_levels
) -> tuple[int, Plan] | None:
    """The largest number of steps that needs at most `nfe` evaluations, and its plan; None if there is none.

    A sampler or a timestep spacing may refuse few steps; more steps need more evaluations.

    Args:
        sampler: The sampler.
        schedule: The noise schedule.
        nfe: Largest number of evaluations.
        levels: (schedule, steps) -> levels; evenly spaced in tau by default.
    """
    low, high, best = 1, nfe, None
    while low <= high:
        steps = (low + high + 1) // 2
        try:
            plan = sampler.plan(schedule, levels(schedule, steps))
        except BadInput:
            low = steps + 1
            continue
        if plan.nfe <= nfe:
            low, best = steps + 1, (steps, plan)
        else:
            high = steps - 1
    return best


def error_against_nfe(
    sampler: Sampler,
    schedule: Schedule,
    nfe: Sequence[int],
    problem: AnalyticProblem,
    count: int = 256,
    seed: int = 0,
    levels: Levels = even_tau_levels,
) -> list[ErrorAtNFE]:
    """Errors of a deterministic sampler, for `count` points from the schedule's noisiest level to clean data.

    An adaptive sampler, which chooses its number of evaluations, gives one point for any `nfe`.

    Args:
        sampler: The sampler.
        schedule: The noise schedule.
        nfe: Numbers of evaluations.
        problem: The problem.
        count: Number of points.
        seed: Seed of the points.
        levels: (schedule, steps) -> levels; evenly spaced in tau by default.
    """
    if sampler.adaptive:
        return [_adaptive(sampler, schedule, problem, count, seed)]
    costs = []
    for requested in nfe:
        result = plan_within_nfe(sampler, schedule, requested, levels)
        if result is None:
            continue
        steps, plan = result
        first = plan.rows[0].level
        start, exact = _solution(problem, float(first.tau), count, seed)
        x = run_plan(plan, problem, start * float(first.alpha + first.sigma))
        costs.append(ErrorAtNFE(requested, plan.nfe, steps, float((x - exact).square().mean().sqrt())))
    return costs


def _adaptive(sampler: Sampler, schedule: Schedule, problem: AnalyticProblem, count: int, seed: int) -> ErrorAtNFE:
    first = schedule.level(schedule.t_max)
    start, exact = _solution(problem, float(first.tau), count, seed)
    result = sampler.solve(schedule, [first, schedule.clean()], problem, start * float(first.alpha + first.sigma))
    nfe = round(sum(result.nfe) / count)
    return ErrorAtNFE(nfe, nfe, 0, float((result.x - exact).square().mean().sqrt()))


@cache
def _solution(problem: AnalyticProblem, tau: float, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(u at tau, x0 at the end): points of the exact marginal and the end of their ODE solutions."""
    start = random_start(problem, NoiseLevel(tau, 1 - tau, tau), count, seed)
    return start, solve_in_tau(problem, start, (tau, 0.0))[-1]
