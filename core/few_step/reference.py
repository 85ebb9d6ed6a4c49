"""The fine solution that a short plan is measured against, kept at the points of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..guidance.base import Guided
from ..samplers.heun_exp import HeunExp
from ..schedulers.base import NoiseLevel64, Schedule
from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel
from .problem import CalibrationProblem

GRID = 48  # points of the grid of times
PARTS = 2  # steps of the fine solution between neighbours of the grid, two evaluations each


@dataclass(frozen=True)
class FineSolution:
    """The solution with many evaluations.

    Attributes:
        levels: The grid, from the noisiest level to clean.
        gram: (2 G + 1, 2 G + 1) float64 mean inner products of the exact points x_0 .. x_(G-1), the estimates D_0 ..
            D_(G-1) and x0; on the host.
        x0: (B, C, *spatial), its end.
        nfe: Evaluations it took.
    """

    levels: list[NoiseLevel64]
    gram: Tensor
    x0: Tensor
    nfe: int


class _Recorder:
    """Records the points at the times that are keys of `made`, and the estimates there."""

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


def solve_finely(problem: CalibrationProblem, points: int = GRID, parts: int = PARTS) -> FineSolution:
    """Solve from the starts with 2 `points` `parts` evaluations.

    Raises:
        BadInput: A guidance remembers the calls before: with many steps it is another denoiser than with few, and its
            solution is no target for them.
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
        ends.append(batch.run(plan, lambda denoiser, made=made: _Recorder(denoiser, made)))
        held = [made[float(level.t)] for level in levels]
        rows = [row.cpu() for row in (*(x for x, _ in held), *(D for _, D in held), ends[-1])]
        for i in range(len(batch.start)):  # one sample at a time: in float64 all of them would take much room
            flat = torch.stack([row[i].double().flatten() for row in rows])
            gram += flat @ flat.T / flat.shape[1]
    x0 = torch.cat(ends)
    return FineSolution(levels, gram / len(x0), x0, plan.nfe)
