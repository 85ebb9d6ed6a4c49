"""All measurements of one sampler: what `sonolux lab sampler` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..samplers.base import Sampler
from ..schedulers.base import Schedule
from ..types import BadInput
from .base import AnalyticProblem
from .budget import ErrorAtNFE, Levels, error_against_nfe, plan_within_nfe
from .distribution import DistributionErrors, measure_distribution, measure_weak_order
from .invariants import largest_deviation
from .orders import MeasuredOrder, even_tau_levels, interior_order, own_start_order, whole_range_order

STEPS = 16  # of the run for invariants and evaluations per step


@dataclass(frozen=True)
class ScheduleMeasurements:
    """The measurements of a sampler on one schedule.

    Attributes:
        interior: MeasuredOrder of a deterministic method with exact history (see orders).
        own_start: Its order on the same interval with its own start.
        whole: Its order from noise to clean data.
        weak: Weak order of a stochastic method (see distribution).
        data: Largest error of a point relative to alpha x0 when the plan is run on D = x0, divided by alpha + sigma.
        noise: Largest error of a point's noise relative to sigma, divided by alpha + sigma.
        nfe: Evaluations per step.
        refused: The reason why the sampler refuses this schedule, if it does.
    """

    interior: MeasuredOrder | None = None
    own_start: MeasuredOrder | None = None
    whole: MeasuredOrder | None = None
    weak: MeasuredOrder | None = None
    data: float = math.nan
    noise: float = math.nan
    nfe: float = math.nan
    refused: str = ""


@dataclass(frozen=True)
class StochasticResult:
    """A stochastic sampler at one number of evaluations.

    Attributes:
        asked: Number of evaluations allowed.
        nfe: Number of evaluations used.
        steps: Number of steps.
        error: Errors of the distribution.
    """

    asked: int
    nfe: int
    steps: int
    error: DistributionErrors


@dataclass(frozen=True)
class SamplerReport:
    """All measurements of a sampler.

    Attributes:
        name: Its name in tables.
        order: The stated order.
        stochastic: Whether it draws noise.
        keeps_marginal: Whether it keeps the marginal by design.
        measured: schedule -> orders, invariants, evaluations.
        costs: schedule -> sampler -> error against evaluations, for a deterministic sampler.
        drawn: schedule -> sampler -> errors of the distribution, for a stochastic sampler.
    """

    name: str
    order: int | None
    stochastic: bool
    keeps_marginal: bool
    measured: dict[str, ScheduleMeasurements] = field(default_factory=dict)
    costs: dict[str, dict[str, list[ErrorAtNFE]]] = field(default_factory=dict)
    drawn: dict[str, dict[str, list[StochasticResult]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Mappings, lists, numbers and strings only; None for numbers that are not finite."""
        return _plain(asdict(self))


def measure_sampler(
    name: str,
    sampler: Sampler,
    schedules: Mapping[str, Schedule],
    against: Mapping[str, Sampler],
    problem: AnalyticProblem,
    nfe: Sequence[int] = (5, 8, 10, 20),
    levels: Levels = even_tau_levels,
    count: int = 500,
) -> SamplerReport:
    """The report of `sampler` on every schedule, with other samplers for comparison.

    Args:
        name: Name of the sampler in tables.
        sampler: The sampler.
        schedules: Noise schedules, by name.
        against: Samplers to compare with, by name.
        problem: Problem for errors against evaluations; orders are measured on a small mixture.
        nfe: Numbers of evaluations.
        levels: (schedule, steps) -> levels.
        count: Number of points of a deterministic comparison, of samples of a stochastic one.
    """
    report = SamplerReport(name, sampler.order, sampler.stochastic, sampler.keeps_marginal)
    for title, schedule in schedules.items():
        report.measured[title] = result = measure_on_schedule(sampler, schedule)
        if result.refused:
            continue
        rows = {name: sampler, **against}
        if sampler.stochastic:
            report.drawn[title] = {
                n: distribution_errors(s, schedule, nfe, problem, levels, count) for n, s in rows.items()
            }
        else:
            report.costs[title] = {
                n: error_against_nfe(s, schedule, nfe, problem, count, levels=levels) for n, s in rows.items()
            }
    return report


def measure_on_schedule(sampler: Sampler, schedule: Schedule) -> ScheduleMeasurements:
    """Orders, invariants and evaluations on one schedule."""
    try:
        plan = sampler.plan(schedule, even_tau_levels(schedule, STEPS))
    except BadInput as error:
        return ScheduleMeasurements(refused=str(error))
    result, nfe = largest_deviation(plan), plan.nfe / STEPS
    if sampler.order is None:
        return ScheduleMeasurements(
            weak=measure_weak_order(sampler, schedule), data=result.data, noise=result.noise, nfe=nfe
        )
    orders = [f(sampler, schedule) for f in (interior_order, own_start_order, whole_range_order)]
    return ScheduleMeasurements(*orders, data=result.data, noise=result.noise, nfe=nfe)


def distribution_errors(
    sampler: Sampler, schedule: Schedule, nfe: Sequence[int], problem: AnalyticProblem, levels: Levels, count: int
) -> list[StochasticResult]:
    """Errors of the distribution of `count` samples at each number of evaluations."""
    rows = []
    for asked in nfe:
        result = plan_within_nfe(sampler, schedule, asked, levels)
        if result is not None:
            steps, plan = result
            error = measure_distribution(sampler, schedule, levels(schedule, steps), problem, count)
            rows.append(StochasticResult(asked, plan.nfe, steps, error))
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
