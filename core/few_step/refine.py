"""Local refinement of a plan against the end of the fine solution: of its times and its weights, both at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from ..samplers.plan import Plan, with_last_uses
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel, Number
from .problem import CalibrationProblem
from .reference import FineSolution


def refined_plan(
    plan: Plan,
    problem: CalibrationProblem,
    reference: FineSolution,
    rounds: int = 40,
    ridge: float = 1e-4,
    report: Callable[[float], None] | None = None,
) -> tuple[Plan, float]:
    """(plan, error) with times and weights fitted at once, by L-BFGS on the squared error of the plan's end.

    The variables are log rho of every level between the first and the last, and the weights on estimates but the newest
    in x_i = (sigma_i / sigma_(i-1)) x_(i-1) + sum_j b_ij D_j; the newest estimate's is alpha_i - alpha_(i-1) sigma_i /
    sigma_(i-1) less the others, so that a constant estimate stays exact and noise keeps its norm. Gradients go through
    the denoiser, by its input and by its level. The best plan seen is kept; its levels fall.

    Args:
        plan: The plan to start from: one evaluation for every row but the last.
        problem: Starts and denoisers.
        reference: The fine solution from these starts.
        rounds: Iterations of L-BFGS.
        ridge: Weight of the squared change of the weights, in units of the plan's own squared error.
        report: Called with the least error so far.

    Raises:
        BadInput: The plan has rows without or with several evaluations.
    """
    dtype = {"dtype": torch.float64, "requires_grad": True}
    rho = torch.tensor([math.log(float(row.level.rho)) for row in plan.rows[1:-1]], **dtype)
    own = _on_last_points(plan)
    weights = [torch.tensor(each[:-1], **dtype) for each in own]
    before = [each.detach().clone() for each in weights]
    exact, sizes = reference.x0, [len(batch.start) for batch in problem.batches]
    scale = max(problem.error(problem.end(plan), exact) ** 2, 1e-30)
    best: tuple[float, Plan] = (math.sqrt(scale), plan)
    variables = [each for each in (rho, *weights) if each.numel()]
    optimiser = torch.optim.LBFGS(variables, max_iter=rounds, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        nonlocal best
        optimiser.zero_grad()
        lost = torch.zeros((), dtype=torch.float64)
        for batch, part in zip(problem.batches, exact.split(sizes), strict=True):
            with torch.enable_grad():
                end = batch.run(_drawn_up(plan, problem.schedule, rho, weights, batch.start))
                each = (end - part).double().square().sum().cpu() / (exact.numel() * scale)
            each.backward()  # at once: the next batch needs the room
            lost += each.detach()
        with torch.enable_grad():
            bent = (torch.cat(weights) - torch.cat(before)).square().sum() * ridge
            bent.backward()
        error = math.sqrt(float(lost) * scale)
        if error < best[0] and _falls(plan, rho):
            fixed = [w.detach() for w in weights]
            best = error, _as_numbers(_drawn_up(plan, problem.schedule, rho.detach(), fixed, rho.detach()))
        if report is not None:
            report(best[0])
        return lost + bent.detach()

    optimiser.step(closure)
    return best[1], best[0]


def _on_last_points(plan: Plan) -> list[list[float]]:
    """For every row after the first the weights on estimates D_0, ..., D_(i-1) where the only point is x_(i-1)."""
    if not (all(row.evaluate for row in plan.rows[:-1]) and all(row.step for row in plan.rows[1:])):
        raise BadInput("times and weights are fitted together for plans of one evaluation a step")
    n = len(plan.rows)
    made = torch.zeros(n, n, dtype=torch.float64)  # row i: its weights on estimates, when written on the start alone
    for i, row in enumerate(plan.rows):
        for j, c in row.d.items():
            made[i, j] += c
        for j, c in row.x.items():
            made[i] += float(c) * made[j]
    sigma = [float(row.level.sigma) for row in plan.rows]
    return [(made[i] - sigma[i] / sigma[i - 1] * made[i - 1])[:i].tolist() for i in range(1, n)]


def _drawn_up(plan: Plan, schedule: Schedule, rho: Tensor, weights: Sequence[Tensor], like: Tensor) -> Plan:
    """The plan with other levels, exp(rho), and other weights, for points `like`; autograd can follow both."""
    levels: list[NoiseLevel] = [plan.rows[0].level, *(schedule.level_of_rho(r) for r in rho.exp()), plan.rows[-1].level]
    rows = [plan.rows[0]]
    for i in range(1, len(levels)):
        ratio = torch.as_tensor(levels[i].sigma / levels[i - 1].sigma, dtype=torch.float64)
        newest = levels[i].alpha - levels[i - 1].alpha * ratio - weights[i - 1].sum()
        x = {i - 1: ratio.to(like)} if float(ratio.detach()) else {}
        d = {j: w.to(like) for j, w in enumerate([*weights[i - 1], newest])}
        level = NoiseLevel(*(torch.as_tensor(v, dtype=torch.float64).reshape(1) for v in _numbers(levels[i])))
        rows.append(replace(plan.rows[i], level=level, x=x, d=d))
    return with_last_uses(rows)


def _numbers(level: NoiseLevel) -> tuple[Number, Number, Number]:
    return level.t, level.alpha, level.sigma


def _as_numbers(plan: Plan) -> Plan:
    rows = [
        replace(
            row,
            level=NoiseLevel(*(float(v) for v in _numbers(row.level))),
            x={j: float(c) for j, c in row.x.items()},
            d={j: float(c) for j, c in row.d.items()},
        )
        for row in plan.rows
    ]
    return with_last_uses(rows)


def _falls(plan: Plan, rho: Tensor) -> bool:
    logs = [math.log(float(plan.rows[0].level.rho)) if plan.rows[0].level.alpha else math.inf, *rho.tolist()]
    return all(a - b > 1e-3 for a, b in pairwise(logs))
