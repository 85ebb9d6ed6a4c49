"""Everything the laboratory says of one sampler: what `sonolux lab sampler` prints and a plugin's author reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..samplers.base import Sampler
from ..schedulers.base import Schedule
from ..types import BadInput
from .base import Problem
from .budget import Cost, Levels, error_against_nfe, within
from .distribution import DistributionError, distribution_error, weak_order
from .invariants import deviation
from .orders import Order, falling, interior, own_start, whole

STEPS = 16  # of the run whose invariants and evaluations a step are shown


@dataclass(frozen=True)
class Measured:
    """A sampler on one schedule.

    Attributes:
        interior: Orders of convergence of a deterministic method (see orders).
        own_start: Orders of convergence of a deterministic method (see orders).
        whole: Orders of convergence of a deterministic method (see orders).
        weak: Weak order of a stochastic one (see distribution).
        data: Largest error of a point from alpha x0 when the plan is run on D = x0, over alpha + sigma.
        noise: Largest error of a point's noise from sigma, over alpha + sigma.
        nfe: Evaluations a step.
        refused: Why the sampler does not take this schedule, if it does not.
    """

    interior: Order | None = None
    own_start: Order | None = None
    whole: Order | None = None
    weak: Order | None = None
    data: float = math.nan
    noise: float = math.nan
    nfe: float = math.nan
    refused: str = ""


@dataclass(frozen=True)
class Drawn:
    """A stochastic sampler at one number of evaluations: what was asked, what was used, and the errors."""

    asked: int
    nfe: int
    steps: int
    error: DistributionError


@dataclass(frozen=True)
class SamplerReport:
    """A sampler, measured.

    Attributes:
        name: What it is called.
        measured: schedule -> orders, invariants, evaluations.
        costs: schedule -> sampler -> error against evaluations, where the sampler is deterministic.
        drawn: schedule -> sampler -> errors of the distribution, where it is stochastic.
    """

    name: str
    order: int | None
    stochastic: bool
    keeps_marginal: bool
    measured: dict[str, Measured] = field(default_factory=dict)
    costs: dict[str, dict[str, list[Cost]]] = field(default_factory=dict)
    drawn: dict[str, dict[str, list[Drawn]]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Mappings, lists, numbers and text alone; None for what is no finite number."""
        return _plain(asdict(self))


def measure(
    name: str,
    sampler: Sampler,
    schedules: Mapping[str, Schedule],
    against: Mapping[str, Sampler],
    problem: Problem,
    nfe: Sequence[int] = (5, 8, 10, 20),
    levels: Levels = falling,
    count: int = 500,
) -> SamplerReport:
    """The report of `sampler`, on every schedule, with others beside it.

    Args:
        against: Samplers to compare with, by name.
        problem: Where errors against evaluations are measured; orders are on a small mixture of their own.
        nfe: Numbers of evaluations.
        levels: Where the samplers stop.
        count: Points of a deterministic comparison, samples of a stochastic one.
    """
    report = SamplerReport(name, sampler.order, sampler.stochastic, sampler.keeps_marginal)
    for title, schedule in schedules.items():
        report.measured[title] = found = on_schedule(sampler, schedule)
        if found.refused:
            continue
        rows = {name: sampler, **against}
        if sampler.stochastic:
            report.drawn[title] = {n: spread(s, schedule, nfe, problem, levels, count) for n, s in rows.items()}
        else:
            report.costs[title] = {
                n: error_against_nfe(s, schedule, nfe, problem, count, levels=levels) for n, s in rows.items()
            }
    return report


def on_schedule(sampler: Sampler, schedule: Schedule) -> Measured:
    """Orders, invariants and evaluations on one schedule."""
    try:
        plan = sampler.plan(schedule, falling(schedule, STEPS))
    except BadInput as error:
        return Measured(refused=str(error))
    found, nfe = deviation(plan), plan.nfe / STEPS
    if sampler.order is None:
        return Measured(weak=weak_order(sampler, schedule), data=found.data, noise=found.noise, nfe=nfe)
    orders = [f(sampler, schedule) for f in (interior, own_start, whole)]
    return Measured(*orders, data=found.data, noise=found.noise, nfe=nfe)


def spread(
    sampler: Sampler, schedule: Schedule, nfe: Sequence[int], problem: Problem, levels: Levels, count: int
) -> list[Drawn]:
    """Errors of the distribution of `count` samples at each number of evaluations."""
    made = []
    for asked in nfe:
        found = within(sampler, schedule, asked, levels)
        if found is not None:
            steps, plan = found
            error = distribution_error(sampler, schedule, levels(schedule, steps), problem, count)
            made.append(Drawn(asked, plan.nfe, steps, error))
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
