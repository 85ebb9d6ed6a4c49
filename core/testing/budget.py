"""The error of a sampler for a given number of function evaluations, on problems whose solution is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from ..samplers.base import Plan, Sampler, run
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel
from .base import Problem
from .ode import random_start, trajectory
from .orders import falling

Levels = Callable[[Schedule, int], Sequence[NoiseLevel]]  # schedule, steps -> the levels of a run


@dataclass(frozen=True)
class Cost:
    """One point of the curve.

    Attributes:
        asked: Evaluations allowed.
        nfe: Evaluations used: the most that whole steps make of it; of an adaptive sampler, their mean over samples.
        steps: Steps of the method; 0 where it chooses them itself.
        error: Root mean square error of the final x0 against the exact solution of the ODE from the same point.
    """

    asked: int
    nfe: int
    steps: int
    error: float


def within(sampler: Sampler, schedule: Schedule, nfe: int, levels: Levels = falling) -> tuple[int, Plan] | None:
    """The most steps that cost at most `nfe` evaluations, and their plan; None where there are none.

    A sampler may refuse few steps, for want of history, and so may a spacing; more steps cost more.
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
    problem: Problem,
    count: int = 256,
    seed: int = 0,
    levels: Levels = falling,
) -> list[Cost]:
    """Errors of a deterministic sampler, `count` points from the schedule's noisiest level to clean.

    An adaptive one, which chooses its evaluations itself, gives one point whatever is asked.

    Args:
        levels: Where it stops; evenly in tau unless given.
    """
    if sampler.adaptive:
        return [_adaptive(sampler, schedule, problem, count, seed)]
    made = []
    for asked in nfe:
        found = within(sampler, schedule, asked, levels)
        if found is None:
            continue
        steps, plan = found
        first = plan.rows[0].level
        start, exact = _solution(problem, float(first.tau), count, seed)
        x = run(plan, problem, start * float(first.alpha + first.sigma))
        made.append(Cost(asked, plan.nfe, steps, float((x - exact).square().mean().sqrt())))
    return made


def _adaptive(sampler: Sampler, schedule: Schedule, problem: Problem, count: int, seed: int) -> Cost:
    first = schedule.level(schedule.t_max)
    start, exact = _solution(problem, float(first.tau), count, seed)
    found = sampler.solve(schedule, [first, schedule.clean()], problem, start * float(first.alpha + first.sigma))
    nfe = round(sum(found.nfe) / count)
    return Cost(nfe, nfe, 0, float((found.x - exact).square().mean().sqrt()))


@cache
def _solution(problem: Problem, tau: float, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(u at tau, x0 at its end): points of the exact marginal and where the ODE takes them."""
    start = random_start(problem, NoiseLevel(tau, 1 - tau, tau), count, seed)
    return start, trajectory(problem, start, (tau, 0.0))[-1]
