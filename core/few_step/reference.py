"""The fine solution that a short plan is measured against, kept at the points of a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..guidance.base import Guided
from ..samplers.base import Plan, Sampler, Solution, run
from ..samplers.heun_exp import HeunExp
from ..schedulers.base import NoiseLevel64, Schedule
from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel

GRID = 48  # points of the grid of times
PARTS = 2  # steps of the fine solution between neighbours of the grid, two evaluations each


@dataclass(frozen=True)
class Batch:
    """Starts that are solved together, as many as `sample` makes at a time.

    denoiser:   guided, not called yet
    start:      (B, C, *spatial) points at the schedule's noisiest level
    conditions: what guides them
    """

    denoiser: Denoiser
    start: Tensor
    conditions: Conditioning

    def run(self, plan: Plan, watch: Callable[[Denoiser], Denoiser] = lambda denoiser: denoiser) -> Tensor:
        """The last point of a plan, (B, C, *spatial). What guidance remembers of one run does not enter another.

        watch: what the denoiser is seen through
        """
        own = self.denoiser.anew() if isinstance(self.denoiser, Guided) else self.denoiser
        return run(plan, watch(own), self.start, self.conditions)


@dataclass(frozen=True)
class Problem:
    """What a plan is calibrated for: a schedule, and batches of starts at its noisiest level with their denoisers.

    The more starts, the better a plan holds for other seeds.
    """

    schedule: Schedule
    batches: tuple[Batch, ...]

    @property
    def start(self) -> Tensor:
        """All starts, (B, C, *spatial)."""
        return torch.cat([batch.start for batch in self.batches])

    def end(self, plan: Plan) -> Tensor:
        """The last points of a plan, (B, C, *spatial)."""
        return torch.cat([batch.run(plan) for batch in self.batches])

    def error(self, x0: Tensor, exact: Tensor) -> float:
        """Root mean square over samples and elements."""
        return float((x0 - exact).double().square().mean().sqrt())


class Catch(Sampler):
    """Stands in for a sampler and keeps what it was given, as a batch; the start comes back as it was."""

    batch: Batch

    def solve(
        self,
        schedule: Schedule,
        levels: Sequence[NoiseLevel],
        denoiser: Denoiser,
        x: Tensor,
        conditions: Conditioning | None = None,
        noise: Any = None,
        on_step: Any = None,
    ) -> Solution:
        """Nothing is evaluated."""
        first = schedule.level(schedule.t_max)
        start = x * (first.sigma / levels[0].sigma)
        self.batch = Batch(denoiser, start, Conditioning() if conditions is None else conditions)
        return Solution(x, (0,) * len(x))

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        raise BadInput("this sampler only catches what others would solve")


@dataclass(frozen=True)
class Reference:
    """The fine solution.

    levels: the grid, from the noisiest level to clean
    gram:   (2 G + 1, 2 G + 1) float64 mean inner products of the exact points x_0 .. x_(G-1), the estimates D_0 ..
            D_(G-1) and x0; on the host
    x0:     (B, C, *spatial) its end
    nfe:    evaluations it took
    """

    levels: list[NoiseLevel64]
    gram: Tensor
    x0: Tensor
    nfe: int


class _Watch:
    """Writes the points at the times that `made` holds, and the estimates there, into it."""

    def __init__(self, denoiser: Denoiser, made: dict[float, tuple[Tensor, Tensor]]):
        self.denoiser, self.made = denoiser, made

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        estimate = self.denoiser.denoise(x, level, conditions)
        if (key := float(level.t)) in self.made:  # at the predictor's point first, then at the one that stays
            self.made[key] = (x, estimate.x0)
        return estimate


def grid(schedule: Schedule, points: int) -> list[NoiseLevel64]:
    """`points` + 1 levels from the noisiest to clean, tau_i = tau_0 (1 - i / points)^2: finer where detail is made."""
    first = schedule.level(schedule.t_max)
    ramp = torch.linspace(0, 1, points + 1, dtype=torch.float64)
    tau = float(first.tau) * (1 - ramp) ** 2
    inner = [schedule.level_of_rho(u / (1 - u)) for u in tau[1:-1]]
    return [first, *inner, schedule.clean()]


def solve(problem: Problem, points: int = GRID, parts: int = PARTS) -> Reference:
    """Solve from the starts with 2 `points` `parts` evaluations.

    Raises BadInput where a guidance remembers the calls before: what it makes of many steps is another denoiser's
    solution than what it makes of few, and no target for them.
    """
    for batch in problem.batches:
        for part in batch.denoiser.guidances if isinstance(batch.denoiser, Guided) else ():
            if part.remembers:
                raise BadInput(
                    f"{type(part).__name__} remembers the call before, so a solution of many steps is no target for "
                    "few: calibrate and sample without its momentum (guidance.momentum=0)"
                )
    fine = grid(problem.schedule, points * parts)
    levels = fine[:-1:parts]
    plan = HeunExp().plan(problem.schedule, fine)
    gram, ends = torch.zeros(2 * points + 1, 2 * points + 1, dtype=torch.float64), []
    for batch in problem.batches:
        made: dict[float, tuple[Tensor, Tensor]] = {float(level.t): (batch.start, batch.start) for level in levels}
        ends.append(batch.run(plan, lambda denoiser, made=made: _Watch(denoiser, made)))
        held = [made[float(level.t)] for level in levels]
        rows = [row.cpu() for row in (*(x for x, _ in held), *(D for _, D in held), ends[-1])]
        for i in range(len(batch.start)):  # one sample at a time: in float64 all of them would take much room
            flat = torch.stack([row[i].double().flatten() for row in rows])
            gram += flat @ flat.T / flat.shape[1]
    x0 = torch.cat(ends)
    return Reference(levels, gram / len(x0), x0, plan.nfe)
