"""Finds a plan of few evaluations for one denoiser: starts by dynamic programming, refined; the best of them go on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..config import registry
from ..samplers.base import Plan, Sampler
from ..schedulers.base import NoiseLevel64
from ..timesteps.base import TimestepSpacing
from ..types import BadInput
from .problem import CalibrationProblem
from .reference import FineSolution, solve_finely
from .refine import refined_plan
from .times import best_times

ROUNDS = ((5, 3), (12, 1), (50, 1))  # of L-BFGS on every plan left, and how many of them go on


@dataclass(frozen=True)
class SamplerPair:
    """A registered sampler with a registered timestep spacing, and the error of its end."""

    sampler: str
    spacing: str
    error: float


@dataclass(frozen=True)
class Calibrated:
    """A calibrated plan and its error.

    Attributes:
        nfe: Its evaluations.
        plan: The rows.
        sampler: The method whose plan the search started from.
        error: Root mean square distance of its end to the fine solution's, on the starts it was fitted on.
        stock: The best stock pair on the same starts.
    """

    nfe: int
    plan: Plan
    sampler: str
    error: float
    stock: SamplerPair


def multistep_samplers() -> dict[str, Sampler]:
    """The registered deterministic samplers that evaluate once a step, with their defaults."""
    return {name: s for name, s in _defaults("sampler") if not (s.stochastic or s.adaptive) and _once_a_step(s)}


def timestep_spacings() -> dict[str, TimestepSpacing]:
    """The registered spacings, with their defaults."""
    return dict(_defaults("timesteps"))


def _defaults(kind: str) -> Iterator[tuple[str, Any]]:
    """Registered components that need no argument."""
    for name in registry.builtins(kind):
        made = registry.find(kind, name)
        if all(p.default is not p.empty for p in inspect.signature(made).parameters.values()):
            yield name, made()


def stock(problem: CalibrationProblem, reference: FineSolution, nfe: int) -> list[SamplerPair]:
    """Every stock sampler and spacing at `nfe` evaluations, best first; without pairs that the schedule refuses.

    Pairs that come to one plan (spacings that agree on this schedule, ddim and euler) are there once.
    """
    found = [
        SamplerPair(name, spaced, problem.error(problem.end(plan), reference.x0))
        for name, spaced, plan, _ in _plans(problem, nfe, multistep_samplers())
    ]
    return sorted((pair for pair in found if pair.error == pair.error), key=lambda pair: pair.error)


def calibrate(
    problem: CalibrationProblem,
    nfe: int,
    reference: FineSolution | None = None,
    report: Callable[[str, float], None] | None = None,
) -> Calibrated:
    """The best plan of `nfe` evaluations for the problem's denoiser.

    Args:
        problem: Starts and denoisers.
        nfe: Evaluations of the denoiser.
        reference: The fine solution, if it was solved before.
        report: Called with (stage, error) as the search goes on.

    Raises:
        BadInput: Fewer than 2 evaluations, or more than the fine solution has levels.
    """
    if nfe < 2:
        raise BadInput(f"a plan of {nfe} evaluations leaves nothing to choose: calibrate 2 or more")
    reference = solve_finely(problem) if reference is None else reference
    if nfe > (most := len(reference.levels)):
        raise BadInput(f"times are searched for on {most} levels: calibrate {most} evaluations or fewer, not {nfe}")
    tell = report or (lambda stage, error: None)
    pairs = stock(problem, reference, nfe)
    tell(f"stock {pairs[0].sampler} on {pairs[0].spacing}", pairs[0].error)
    left = _starts(problem, reference, nfe, pairs[0])
    for rounds, kept in ROUNDS:
        for i, (_, name, plan) in enumerate(left):
            plan, error = refined_plan(plan, problem, reference, rounds, report=lambda e, name=name: tell(name, e))
            left[i] = error, name, plan
        left = sorted(left, key=lambda each: each[0])[:kept]
    error, name, plan = left[0]
    return Calibrated(nfe, plan, name, error, pairs[0])


def _starts(
    problem: CalibrationProblem, reference: FineSolution, nfe: int, best: SamplerPair
) -> list[tuple[float, str, Plan]]:
    """(error, sampler, plan), each once: times by dynamic programming for every sampler, and the best stock pair.

    How good a start is says little about where it leads: on the exact problems the methods on noise estimates (ipndm,
    deis) begin among the worst and end as the best.
    """
    offered = [
        (name, best_times(sampler, problem.schedule, reference, nfe)) for name, sampler in multistep_samplers().items()
    ]
    offered.append((best.sampler, timestep_spacings()[best.spacing].levels(problem.schedule, nfe)))
    found: dict[float, tuple[float, str, Plan]] = {}
    for name, levels in offered:
        plan = multistep_samplers()[name].plan(problem.schedule, levels)
        error = problem.error(problem.end(plan), reference.x0)
        if error == error:
            found.setdefault(round(error, 12), (error, name, plan))  # euler and ddim are one
    return list(found.values())


def _plans(
    problem: CalibrationProblem, nfe: int, samplers: Mapping[str, Sampler]
) -> Iterator[tuple[str, str, Plan, list[NoiseLevel64]]]:
    seen: set[tuple[float, ...]] = set()
    for spaced, spacing in timestep_spacings().items():
        try:
            levels = spacing.levels(problem.schedule, nfe)
        except BadInput:
            continue
        for name, sampler in samplers.items():
            try:
                plan = sampler.plan(problem.schedule, levels)
            except BadInput:
                continue
            if plan.nfe == nfe and (key := _key(plan)) not in seen:
                seen.add(key)
                yield name, spaced, plan, levels


def _key(plan: Plan) -> tuple[float, ...]:
    """Plans of the same numbers have the same key."""
    numbers = [float(v) for row in plan.rows for v in (row.level.tau, *row.x.values(), *row.d.values())]
    return tuple(round(v, 9) for v in numbers)


def _once_a_step(sampler: Sampler) -> bool:
    schedule = registry.find("schedule", "edm")()
    return sampler.plan(schedule, [schedule.level(t) for t in (8.0, 4.0, 2.0, 1.0)]).nfe == 3
