"""Refinement of a plan: its noise levels and weights are fitted jointly to the result of the reference solution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from ..samplers.plan import Plan, plan_from_rows
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel, Number
from .problem import CalibrationProblem
from .reference import ReferenceSolution


def refine_plan(
    plan: Plan,
    problem: CalibrationProblem,
    reference: ReferenceSolution,
    rounds: int = 40,
    ridge: float = 1e-4,
    report: Callable[[float], None] | None = None,
) -> tuple[Plan, float]:
    """Fit noise levels and weights jointly, by L-BFGS on the squared error of the plan's result.

    A step is

        x_i = (sigma_i / sigma_(i-1)) x_(i-1) + sum_j b_ij D_j

    The variables are log rho of every level between the first and the last, and all weights b_ij except that of the
    newest estimate. That weight is alpha_i - alpha_(i-1) sigma_i / sigma_(i-1) minus the sum of the others, so that the
    step is exact for a constant estimate and noise keeps its scale. Gradients pass through the denoiser, with respect
    to its input and its noise level.

    Args:
        plan: The initial plan, with one evaluation in every row except the last.
        problem: Initial states and denoisers.
        reference: The reference solution from the same initial states.
        rounds: Number of L-BFGS iterations.
        ridge: Weight of the penalty on the squared change of the weights, relative to the initial squared error.
        report: Called with the smallest error so far.

    Returns:
        The best plan with decreasing levels that was found, and its error.

    Raises:
        BadInput: A row of the plan has no evaluation, or several.
    """
    dtype = {"dtype": torch.float64, "requires_grad": True}
    rho = torch.tensor([math.log(float(row.level.rho)) for row in plan.rows[1:-1]], **dtype)
    initial = _weights_on_estimates(plan)
    weights = [torch.tensor(row[:-1], **dtype) for row in initial]
    before = [row.detach().clone() for row in weights]
    exact, sizes = reference.x0, [len(batch.start) for batch in problem.batches]
    scale = max(problem.error(problem.final_states(plan), exact) ** 2, 1e-30)
    best: tuple[float, Plan] = (math.sqrt(scale), plan)
    variables = [each for each in (rho, *weights) if each.numel()]
    optimiser = torch.optim.LBFGS(variables, max_iter=rounds, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        nonlocal best
        optimiser.zero_grad()
        lost = torch.zeros((), dtype=torch.float64)
        for batch, part in zip(problem.batches, exact.split(sizes), strict=True):
            with torch.enable_grad():
                end = batch.run(_with_variables(plan, problem.schedule, rho, weights, batch.start))
                each = (end - part).double().square().sum().cpu() / (exact.numel() * scale)
            each.backward()  # per batch, to save memory
            lost += each.detach()
        with torch.enable_grad():
            penalty = (torch.cat(weights) - torch.cat(before)).square().sum() * ridge
            penalty.backward()
        error = math.sqrt(float(lost) * scale)
        if error < best[0] and _falls(plan, rho):
            fixed = [w.detach() for w in weights]
            best = error, _as_numbers(_with_variables(plan, problem.schedule, rho.detach(), fixed, rho.detach()))
        if report is not None:
            report(best[0])
        return lost + penalty.detach()

    optimiser.step(closure)
    return best[1], best[0]


def _weights_on_estimates(plan: Plan) -> list[list[float]]:
    """The weights b_ij on the estimates D_0, ..., D_(i-1) of every row i > 0, with x_(i-1) as the only state."""
    if not (all(row.evaluate for row in plan.rows[:-1]) and all(row.step for row in plan.rows[1:])):
        raise BadInput("times and weights can only be fitted in plans with one evaluation per step")
    n = len(plan.rows)
    total = torch.zeros(n, n, dtype=torch.float64)  # row i: weights on estimates with x_0 as the only state
    for i, row in enumerate(plan.rows):
        for j, c in row.d.items():
            total[i, j] += c
        for j, c in row.x.items():
            total[i] += float(c) * total[j]
    sigma = [float(row.level.sigma) for row in plan.rows]
    return [(total[i] - sigma[i] / sigma[i - 1] * total[i - 1])[:i].tolist() for i in range(1, n)]


def _with_variables(plan: Plan, schedule: Schedule, rho: Tensor, weights: Sequence[Tensor], like: Tensor) -> Plan:
    """The plan with levels exp(rho) and the given weights, differentiable in both; tensors are placed as `like`."""
    levels: list[NoiseLevel] = [plan.rows[0].level, *(schedule.level_of_rho(r) for r in rho.exp()), plan.rows[-1].level]
    rows = [plan.rows[0]]
    for i in range(1, len(levels)):
        ratio = torch.as_tensor(levels[i].sigma / levels[i - 1].sigma, dtype=torch.float64)
        newest = levels[i].alpha - levels[i - 1].alpha * ratio - weights[i - 1].sum()
        x = {i - 1: ratio.to(like)} if float(ratio.detach()) else {}
        d = {j: w.to(like) for j, w in enumerate([*weights[i - 1], newest])}
        level = NoiseLevel(*(torch.as_tensor(v, dtype=torch.float64).reshape(1) for v in _numbers(levels[i])))
        rows.append(replace(plan.rows[i], level=level, x=x, d=d))
    return plan_from_rows(rows)


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
    return plan_from_rows(rows)


def _falls(plan: Plan, rho: Tensor) -> bool:
    logs = [math.log(float(plan.rows[0].level.rho)) if plan.rows[0].level.alpha else math.inf, *rho.tolist()]
    return all(a - b > 1e-3 for a, b in pairwise(logs))
