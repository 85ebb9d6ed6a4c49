"""Calibration: finds a sampler plan of few evaluations for one denoiser.

The candidates are the registered multistep samplers, each on the timesteps that dynamic programming finds
(`level_search.py`), and the best registered combination of sampler and timestep spacing. L-BFGS refines them
(`refine.py`) in rounds, after each of which only the best ones remain.
"""

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
from .level_search import optimal_levels
from .problem import CalibrationProblem
from .reference import ReferenceSolution, solve_reference
from .refine import refine_plan

ROUNDS = ((5, 3), (12, 1), (50, 1))  # (iterations of L-BFGS on each remaining plan, how many plans remain after them)


@dataclass(frozen=True)
class SamplerSpacingPair:
    """A registered sampler with a registered timestep spacing.

    Attributes:
        sampler: Name of the sampler.
        timesteps: Name of the timestep spacing.
        error: Root mean square distance of its result to the reference solution.
    """

    sampler: str
    timesteps: str
    error: float


@dataclass(frozen=True)
class CalibratedPlan:
    """A calibrated plan and its error.

    Attributes:
        nfe: Number of evaluations.
        plan: The plan.
        sampler: The sampler with whose plan the search started.
        error: Root mean square distance of its result to the reference solution, on the initial states of the fit.
        stock: The best registered pair on the same initial states.
    """

    nfe: int
    plan: Plan
    sampler: str
    error: float
    stock: SamplerSpacingPair


def multistep_samplers() -> dict[str, Sampler]:
    """The registered deterministic samplers with one evaluation per step, with default parameters."""
    samplers = ((name, s) for name, s in _defaults("sampler") if not (s.stochastic or s.adaptive))
    return {name: s for name, s in samplers if _one_evaluation_per_step(s)}


def timestep_spacings() -> dict[str, TimestepSpacing]:
    """The registered timestep spacings, with default parameters."""
    return dict(_defaults("timesteps"))


def _defaults(kind: str) -> Iterator[tuple[str, Any]]:
    """Registered components that need no arguments."""
    for name in registry.builtin_files(kind):
        component = registry.find_class(kind, name)
        if all(p.default is not p.empty for p in inspect.signature(component).parameters.values()):
            yield name, component()


def rank_registered_pairs(
    problem: CalibrationProblem,
    reference: ReferenceSolution,
    nfe: int,
    report: Callable[[str, float], None] = lambda stage, error: None,
) -> list[SamplerSpacingPair]:
    """All registered pairs of sampler and timestep spacing at `nfe` evaluations, best first.

    Pairs that do not support the schedule are left out. Pairs with equal plans (timestep spacings that
    agree on this schedule, ddim and euler) occur once.

    Args:
        problem: Initial states and denoisers.
        reference: The reference solution.
        nfe: Number of evaluations.
        report: See `calibrate_plan`.
    """
    pairs = []
    for name, timesteps, plan, _ in _plans(problem, nfe, multistep_samplers()):
        error = problem.error(problem.final_states(plan), reference.x0)
        report(f"stock {name} on {timesteps}", error)
        pairs.append(SamplerSpacingPair(name, timesteps, error))
    return sorted((pair for pair in pairs if pair.error == pair.error), key=lambda pair: pair.error)


def calibrate_plan(
    problem: CalibrationProblem,
    nfe: int,
    reference: ReferenceSolution | None = None,
    report: Callable[[str, float], None] | None = None,
) -> CalibratedPlan:
    """Find the best plan of `nfe` evaluations.

    Args:
        problem: Initial states and denoisers.
        nfe: Number of evaluations.
        reference: The reference solution; None: it is solved first.
        report: Called with (stage, error) during the search.

    Raises:
        BadInput: `nfe` is below 2, or above the number of levels of the reference solution.
    """
    if nfe < 2:
        raise BadInput(f"a plan of {nfe} evaluations has nothing to calibrate: choose 2 or more")
    reference = solve_reference(problem) if reference is None else reference
    if nfe > (most := len(reference.levels)):
        raise BadInput(f"times are searched for on {most} levels: calibrate {most} evaluations or fewer, not {nfe}")
    progress = report or (lambda stage, error: None)
    pairs = rank_registered_pairs(problem, reference, nfe, progress)
    if not pairs:
        raise BadInput(f"no sampler gives a finite result with {nfe} evaluations: check the weights of the model")
    plans = _candidates(problem, reference, nfe, pairs[0])
    for iterations, remaining in ROUNDS:
        for i, (_, name, plan) in enumerate(plans):
            plan, error = refine_plan(
                plan, problem, reference, iterations, report=lambda e, name=name: progress(name, e)
            )
            plans[i] = error, name, plan
        plans = sorted(plans, key=lambda candidate: candidate[0])[:remaining]
    error, name, plan = plans[0]
    return CalibratedPlan(nfe, plan, name, error, pairs[0])


def _candidates(
    problem: CalibrationProblem, reference: ReferenceSolution, nfe: int, best: SamplerSpacingPair
) -> list[tuple[float, str, Plan]]:
    """(error, sampler, plan) without duplicates: each sampler on its times by dynamic programming, and the best pair.

    All samplers are candidates because the error before refinement says little about the error after it: on the exact
    problems, the methods that extrapolate estimates of eps (ipndm, deis) start among the worst and end as the best.
    """
    candidates = [
        (name, optimal_levels(sampler, problem.schedule, reference, nfe))
        for name, sampler in multistep_samplers().items()
    ]
    candidates.append((best.sampler, timestep_spacings()[best.timesteps].levels(problem.schedule, nfe)))
    found: dict[float, tuple[float, str, Plan]] = {}
    for name, levels in candidates:
        plan = multistep_samplers()[name].plan(problem.schedule, levels)
        error = problem.error(problem.final_states(plan), reference.x0)
        if error == error:
            found.setdefault(round(error, 12), (error, name, plan))  # euler and ddim have the same plan
    return list(found.values())


def _plans(
    problem: CalibrationProblem, nfe: int, samplers: Mapping[str, Sampler]
) -> Iterator[tuple[str, str, Plan, list[NoiseLevel64]]]:
    """(sampler, timesteps, plan, levels) of all registered pairs with `nfe` evaluations, without duplicates."""
    seen: set[tuple[float, ...]] = set()
    for timesteps_name, timesteps in timestep_spacings().items():
        try:
            levels = timesteps.levels(problem.schedule, nfe)
        except BadInput:
            continue
        for name, sampler in samplers.items():
            try:
                plan = sampler.plan(problem.schedule, levels)
            except BadInput:
                continue
            if plan.nfe == nfe and (key := _key(plan)) not in seen:
                seen.add(key)
                yield name, timesteps_name, plan, levels


def _key(plan: Plan) -> tuple[float, ...]:
    """A key that is equal for plans with equal coefficients."""
    numbers = [float(v) for row in plan.rows for v in (row.level.tau, *row.x.values(), *row.d.values())]
    return tuple(round(v, 9) for v in numbers)


def _one_evaluation_per_step(sampler: Sampler) -> bool:
    schedule = registry.find_class("schedule", "edm")()
    return sampler.plan(schedule, [schedule.level(t) for t in (8.0, 4.0, 2.0, 1.0)]).nfe == 3
