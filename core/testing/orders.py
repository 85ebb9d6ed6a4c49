"""Measures the order of convergence of a sampler against the exact solution of the probability-flow ODE.

Three measurements (on any test problem; a small mixture by default):

interior   a fixed interval of lambda in steps of unequal length; before its start the sampler is set to the exact
solution at every level, so that its history contains exact estimates: the order of the method itself
own start  the same interval, started without history: the order with the method's own first steps
whole      levels evenly spaced in tau from the noisiest level (alpha = 0 if the schedule has it) to clean data (sigma =
0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from ..samplers.base import Sampler, run_plan
from ..schedulers.base import NoiseLevel64, Schedule
from ..types import Conditioning, Denoiser, Estimate, NoiseLevel
from .base import AnalyticProblem
from .mixture import example_mixture
from .ode import random_start, solve_in_tau

HISTORY = 4  # levels before the interval: more than any multistep method uses
UNEVEN = 0.2  # every other level is moved by this fraction of a step: equal steps would hide a wrong step ratio
INTERVAL = (-0.75, 0.75)  # of lambda; within the range of every schedule, including the levels of the history
STEPS = (24, 96)  # steps on that interval: the asymptotic range of methods of order 4, at low cost
POINTS = 32  # enough that the leading terms of the error do not cancel by chance


@dataclass(frozen=True)
class MeasuredOrder:
    """Errors at several step sizes and the order of convergence computed from them.

    Attributes:
        steps: Numbers of steps.
        errors: Root mean square error of the last point, divided by alpha + sigma there.
        slope: The order: minus the slope of log error on log steps.
    """

    steps: tuple[int, ...]
    errors: tuple[float, ...]
    slope: float = field(init=False)

    def __post_init__(self) -> None:
        """The order is the slope of log error on log steps, by least squares over all of them."""
        n, e = (torch.tensor([math.log(max(v, 1e-300)) for v in values]) for values in (self.steps, self.errors))
        n, e = n - n.mean(), e - e.mean()
        object.__setattr__(self, "slope", -float((n * e).sum() / (n * n).sum()))

    @property
    def is_finite(self) -> bool:
        """Whether every error is a finite number."""
        return all(math.isfinite(e) for e in self.errors)


class PinnedDenoiser:
    """A denoiser that first sets the state to a given point, at the levels for which one is given.

    Args:
        denoiser: The denoiser.
        levels: Levels with a given point.
        points: The points at these levels.
    """

    def __init__(self, denoiser: Denoiser, levels: Sequence[NoiseLevel], points: Sequence[Tensor]):
        self.denoiser = denoiser
        self.points = {(float(a.alpha), float(a.sigma)): x for a, x in zip(levels, points, strict=True)}

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The estimate at the point given for this level, which becomes the state, or at x."""
        moved = self.points.get((level.alpha, level.sigma))  # type: ignore[arg-type]
        return Estimate(self.denoiser.denoise(x if moved is None else moved, level, conditions).x0, moved)


def interior_order(
    sampler: Sampler,
    schedule: Schedule,
    steps: Sequence[int] = STEPS,
    count: int = POINTS,
    problem: AnalyticProblem | None = None,
) -> MeasuredOrder:
    """The order of the method itself, with exact history; arguments as in `whole_range_order`."""
    return _on_interval(sampler, schedule, steps, count, HISTORY, problem or _problem())


def own_start_order(
    sampler: Sampler,
    schedule: Schedule,
    steps: Sequence[int] = STEPS,
    count: int = POINTS,
    problem: AnalyticProblem | None = None,
) -> MeasuredOrder:
    """The order on the same interval with the method's own start; arguments as in `whole_range_order`."""
    return _on_interval(sampler, schedule, steps, count, 0, problem or _problem())


def whole_range_order(
    sampler: Sampler,
    schedule: Schedule,
    steps: Sequence[int] = (16, 32, 64, 128),
    count: int = POINTS,
    problem: AnalyticProblem | None = None,
) -> MeasuredOrder:
    """The order from the schedule's noisiest level to clean data, with levels evenly spaced in tau.

    Args:
        sampler: The sampler.
        schedule: The noise schedule.
        steps: Numbers of steps.
        count: Number of points.
        problem: The problem; None: a small mixture.
    """
    problem = problem or _problem()
    first, errors = schedule.level(schedule.t_max), []
    start, exact = _curve(problem, count, (float(first.tau), 0.0))
    for n in steps:
        levels = even_tau_levels(schedule, n)
        x = run_plan(sampler.plan(schedule, levels), problem, start * float(first.alpha + first.sigma))
        errors.append(_error(x, exact, levels[-1]))
    return MeasuredOrder(tuple(steps), tuple(errors))


def _on_interval(
    sampler: Sampler, schedule: Schedule, steps: Sequence[int], count: int, history: int, problem: AnalyticProblem
) -> MeasuredOrder:
    low, high = INTERVAL
    errors = []
    for n in steps:
        lam, levels = _lambdas(n, history), uneven_levels(schedule, n, history)
        back = _curve(problem, count, tuple(_tau(v) for v in lam[history::-1]))[
            ::-1
        ]  # exact, from the earliest level to `low`
        exact = _curve(problem, count, (_tau(low), _tau(high)))[-1]
        points = [u * float(a.alpha + a.sigma) for u, a in zip(back, levels, strict=False)]
        x = run_plan(sampler.plan(schedule, levels), PinnedDenoiser(problem, levels[: history + 1], points), points[0])
        errors.append(_error(x, exact, levels[-1]))
    return MeasuredOrder(tuple(steps), tuple(errors))


def uneven_levels(schedule: Schedule, steps: int, history: int = 0) -> list[NoiseLevel64]:
    """Levels of `steps` unequal steps on the interval, after `history` levels before it."""
    rhos = [math.exp(-v) for v in _lambdas(steps, history)]
    return _separate(schedule.level_of_rho(torch.tensor(rhos, dtype=torch.float64)))


def even_tau_levels(schedule: Schedule, steps: int) -> list[NoiseLevel64]:
    """Levels evenly spaced in tau from the schedule's noisiest level to clean data, both exact."""
    first = schedule.level(schedule.t_max)
    tau = torch.linspace(float(first.tau), 0, steps + 1, dtype=torch.float64)
    return [first, *_separate(schedule.level_of_rho(tau[1:-1] / (1 - tau[1:-1]))), schedule.clean()]


def _separate(level: NoiseLevel64) -> list[NoiseLevel64]:
    """The single levels of a list of them: schedules compute elementwise, bit for bit."""
    return [NoiseLevel64(*one) for one in zip(level.t, level.alpha, level.sigma, strict=True)]


def _lambdas(steps: int, history: int) -> list[float]:
    low, high = INTERVAL
    return [low + (i + UNEVEN * (i % 2)) * (high - low) / steps for i in range(-history, steps + 1)]


@cache
def _problem() -> AnalyticProblem:
    return example_mixture()


@cache
def _curve(problem: AnalyticProblem, count: int, taus: tuple[float, ...]) -> list[Tensor]:
    """Exact points u = x / (alpha + sigma) at these tau, from points drawn at the first; valid for every schedule."""
    start = random_start(problem, NoiseLevel(taus[0], 1 - taus[0], taus[0]), count)
    return solve_in_tau(problem, start, taus)


def _tau(lam: float) -> float:
    return 1 / (1 + math.exp(lam))


def _error(x: Tensor, exact: Tensor, level: NoiseLevel) -> float:
    return float((x / (level.alpha + level.sigma) - exact).square().mean().sqrt())
