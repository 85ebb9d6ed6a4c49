"""Local refinement against the end of the fine solution: first the times, then the coefficients of the plan itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..plan import Plan, Row, with_last_uses
from ..samplers.base import Sampler
from ..schedulers.base import ExactLevel
from ..types import BadInput
from .reference import Problem, Reference

Report = Callable[[float], None]  # called with the error reached so far


def refined_times(
    sampler: Sampler, levels: Sequence[ExactLevel], problem: Problem, reference: Reference, report: Report | None = None
) -> tuple[list[ExactLevel], float]:
    """(levels, error) after a pattern search over logit(tau) of the levels between the first and clean.

    Each level in turn is moved up and down; moves that lower the error stay; when none does, they are halved.
    """
    schedule = problem.schedule

    def made(y: Sequence[float]) -> list[ExactLevel]:
        inner = [schedule.level_of_rho(math.exp(v)) for v in y]  # logit(tau) = log rho
        return [levels[0], *inner, levels[-1]]

    def error(y: Sequence[float]) -> float:
        try:
            return problem.error(problem.end(sampler.plan(schedule, made(y))), reference.x0)
        except BadInput:  # levels that no longer fall
            return math.inf

    y, step = [math.log(float(level.rho)) for level in levels[1:-1]], 0.25
    best = error(y)
    while step > 0.03 and y:
        before = best
        for i in range(len(y)):
            for move in (step, -step):
                trial = [v + move * (k == i) for k, v in enumerate(y)]
                if (found := error(trial)) < best:
                    y, best = trial, found
                    break
        if report is not None:
            report(best)
        if best > 0.995 * before:
            step /= 2
    return made(y), best


def refined_coefficients(
    plan: Plan,
    problem: Problem,
    reference: Reference,
    rounds: int = 40,
    ridge: float = 1e-4,
    report: Report | None = None,
) -> Plan:
    """The plan with every weight on an estimate fitted, by L-BFGS on the squared error of its end.

    A row's weight on the last point stays (the noise keeps its norm), and so does the sum of its weights on estimates
    (a constant estimate stays exact): c_x alpha_s + sum b = alpha_t. Estimates that the method ignored may enter.

    rounds: iterations of L-BFGS
    ridge:  weight of the squared change of the coefficients, in units of the plan's own squared error
    """
    like = problem.batches[0].start
    changes = {
        (i, j): torch.zeros((), dtype=like.dtype, device=like.device, requires_grad=True)
        for i in range(1, len(plan.rows))
        for j in _known(plan, i)[:-1]
    }
    if not changes:
        return plan
    scale = problem.error(problem.end(plan), reference.x0) ** 2
    optimiser = torch.optim.LBFGS(changes.values(), max_iter=rounds, history_size=20, line_search_fn="strong_wolfe")

    sizes = [len(batch.start) for batch in problem.batches]

    def closure() -> Tensor:
        optimiser.zero_grad()
        lost = torch.zeros((), dtype=like.dtype, device=like.device)
        with torch.enable_grad():
            for batch, exact in zip(problem.batches, reference.x0.split(sizes), strict=True):
                part = (batch.run(_changed(plan, changes)) - exact).square().sum() / (reference.x0.numel() * scale)
                part.backward()  # at once: the next batch needs the room
                lost += part.detach()
            bent = torch.stack([c.square() for c in changes.values()]).sum() * ridge
            bent.backward()
        if report is not None:
            report(math.sqrt(float(lost) * scale))
        return lost + bent.detach()

    optimiser.step(closure)
    return _changed(plan, {key: float(c.detach()) for key, c in changes.items()})


def _known(plan: Plan, row: int) -> list[int]:
    """Rows before `row` whose estimates are known, oldest first."""
    return [j for j in range(row) if plan.rows[j].evaluate]


def _changed(plan: Plan, changes: Mapping[tuple[int, int], float | Tensor]) -> Plan:
    """The plan with weights on estimates changed, and the newest estimate's so that every row's sum stays."""
    rows: list[Row] = []
    for i, row in enumerate(plan.rows):
        d, newest = dict(row.d), max(_known(plan, i), default=0)
        for j in _known(plan, i)[:-1]:
            d[j] = d.get(j, 0.0) + changes[i, j]
            d[newest] = d.get(newest, 0.0) - changes[i, j]
        rows.append(replace(row, d=d))
    return with_last_uses(rows)
