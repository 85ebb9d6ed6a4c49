"""The fine solution that a short plan is measured against, kept at the points of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..samplers.base import Draft, Progress, Sampler, Solution, run
from ..samplers.heun_exp import HeunExp
from ..schedulers.base import ExactLevel, Schedule
from ..types import BadInput, Conditions, Denoiser, Estimate, Level

GRID = 48  # points of the grid of times
PARTS = 2  # steps of the fine solution between neighbours of the grid, two evaluations each


@dataclass(frozen=True)
class Problem:
    """What a plan is calibrated for: a denoiser, its schedule, and starts at the schedule's noisiest level.

    start: (B, C, *spatial) points at the noisiest level; the larger B, the better it holds for other seeds
    """

    denoiser: Denoiser
    schedule: Schedule
    start: Tensor
    conditions: Conditions

    def error(self, x0: Tensor, exact: Tensor) -> float:
        """Root mean square over samples and elements."""
        return float((x0 - exact).double().square().mean().sqrt())


class Catch(Sampler):
    """Stands in for a sampler and keeps what it was given, as a problem; the start comes back as it was."""

    problem: Problem

    def solve(
        self,
        schedule: Schedule,
        levels: Sequence[Level],
        denoiser: Denoiser,
        x: Tensor,
        conditions: Conditions | None = None,
        noise: Any = None,
        on_step: Any = None,
    ) -> Solution:
        """Nothing is evaluated."""
        first = schedule.level(schedule.t_max)
        start = x * (first.sigma / levels[0].sigma)
        self.problem = Problem(denoiser, schedule, start, Conditions() if conditions is None else conditions)
        return Solution(x, (0,) * len(x))

    def draft(self, draft: Draft) -> None:
        raise BadInput("this sampler only catches what others would solve")


@dataclass(frozen=True)
class Reference:
    """The fine solution.

    levels: the grid, from the noisiest level to clean
    gram:   (2 G + 1, 2 G + 1) float64 mean inner products of the exact points x_0 .. x_(G-1), the estimates D_0 ..
            D_(G-1) and x0
    x0:     (B, C, *spatial) its end
    nfe:    evaluations it took
    """

    levels: list[ExactLevel]
    gram: Tensor
    x0: Tensor
    nfe: int


class _Watch:
    """Keeps the estimates made at the points of the grid."""

    def __init__(self, denoiser: Denoiser, keep: set[float]):
        self.denoiser, self.keep, self.made = denoiser, keep, {}

    def denoise(self, x: Tensor, level: Level, conditions: Conditions) -> Estimate:
        estimate = self.denoiser.denoise(x, level, conditions)
        if (key := float(level.t)) in self.keep:  # at the predictor's point first, then at the one that stays
            self.made[key] = (x, estimate.x0)
        return estimate


def grid(schedule: Schedule, points: int) -> list[ExactLevel]:
    """`points` + 1 levels from the noisiest to clean, tau_i = tau_0 (1 - i / points)^2: finer where detail is made."""
    first = schedule.level(schedule.t_max)
    ramp = torch.linspace(0, 1, points + 1, dtype=torch.float64)
    tau = float(first.tau) * (1 - ramp) ** 2
    inner = [schedule.level_of_rho(u / (1 - u)) for u in tau[1:-1]]
    return [first, *inner, schedule.clean()]


def solve(problem: Problem, points: int = GRID, parts: int = PARTS) -> Reference:
    """Solve from the starts with 2 `points` `parts` evaluations."""
    fine = grid(problem.schedule, points * parts)
    levels = fine[::parts]
    watch = _Watch(problem.denoiser, {float(level.t) for level in levels})
    ends: list[Tensor] = []
    plan = HeunExp().plan(problem.schedule, fine)

    def keep(progress: Progress) -> None:
        if progress.step == progress.steps:
            ends.append(progress.x)

    run(plan, watch, problem.start, problem.conditions, on_step=keep)
    held = [watch.made[float(level.t)] for level in levels[:-1]]
    rows = [x for x, _ in held] + [D for _, D in held] + [ends[0]]
    flat = torch.stack([row.double().flatten() for row in rows]) / rows[0].numel() ** 0.5
    return Reference(levels[:-1], flat @ flat.T, ends[0], plan.nfe)
