"""The reference solution: many evaluations, with states and estimates recorded on a grid of noise levels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..guidance.base import GuidedDenoiser
from ..samplers.heun_exp import HeunExp
from ..schedulers.base import NoiseLevel64, Schedule
from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel
from .problem import CalibrationProblem

GRID = 48  # number of grid points
PARTS = 2  # steps between neighbouring grid points, with two evaluations each


@dataclass(frozen=True)
class ReferenceSolution:
    """The solution with many evaluations.

    Attributes:
        levels: The G grid levels, in decreasing order, without the clean level.
        gram: (2 G + 1, 2 G + 1) float64 on the host: mean inner products of the states x_0 .. x_(G-1), the estimates
            D_0 .. D_(G-1) and the result x0.
        x0: The result, (B, C, *spatial).
        nfe: Number of evaluations.
    """

    levels: list[NoiseLevel64]
    gram: Tensor
    x0: Tensor
    nfe: int


class _Recorder:
    """Records state and estimate at the times that are keys of `records`; `count` is called at each evaluation."""

    def __init__(self, denoiser: Denoiser, records: dict[float, tuple[Tensor, Tensor]], count: Callable[[], None]):
        self.denoiser, self.records, self.count = denoiser, records, count

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        self.count()
        estimate = self.denoiser.denoise(x, level, conditions)
        if (key := float(level.t)) in self.records:  # the corrector's state replaces the predictor's
            self.records[key] = (x, estimate.x0)
        return estimate


def reference_levels(schedule: Schedule, points: int) -> list[NoiseLevel64]:
    """`points` + 1 levels from the highest to clean, tau_i = tau_0 (1 - i / points)^2: denser at low noise."""
    first = schedule.level(schedule.t_max)
    ramp = torch.linspace(0, 1, points + 1, dtype=torch.float64)
    tau = float(first.tau) * (1 - ramp) ** 2
    inner = [schedule.level_of_rho(u / (1 - u)) for u in tau[1:-1]]
    return [first, *inner, schedule.clean()]


def solve_reference(
    problem: CalibrationProblem,
    points: int = GRID,
    parts: int = PARTS,
    report: Callable[[float], None] | None = None,
) -> ReferenceSolution:
    """Solve the problem with 2 `points` `parts` evaluations (HeunExp on a fine grid).

    Args:
        problem: The initial states.
        points: Number of grid points.
        parts: Number of steps between neighbouring grid points.
        report: Called at each evaluation with the share of evaluations that are done.

    Raises:
        BadInput: A guidance depends on previous evaluations. Its denoiser then depends on the number of steps, so that
            a solution with many steps is not the target of one with few. Or the solution is not finite.
    """
    for batch in problem.batches:
        for part in batch.denoiser.guidances if isinstance(batch.denoiser, GuidedDenoiser) else ():
            if part.stateful:
                raise BadInput(
                    f"{type(part).__name__} depends on previous evaluations, so a solution with many steps is not "
                    "the target of few: calibrate and sample without its momentum (guidance.momentum=0)"
                )
    fine = reference_levels(problem.schedule, points * parts)
    levels = fine[:-1:parts]
    plan = HeunExp().plan(problem.schedule, fine)
    calls = itertools.count()

    def count() -> None:
        done = next(calls)
        if report is not None:
            report(done / (plan.nfe * len(problem.batches)))

    gram, ends = torch.zeros(2 * points + 1, 2 * points + 1, dtype=torch.float64), []
    for batch in problem.batches:
        records: dict[float, tuple[Tensor, Tensor]] = {float(level.t): (batch.start, batch.start) for level in levels}
        ends.append(batch.run(plan, lambda denoiser, records=records: _Recorder(denoiser, records, count)))
        recorded = [records[float(level.t)] for level in levels]
        rows = [row.cpu() for row in (*(x for x, _ in recorded), *(D for _, D in recorded), ends[-1])]
        for i in range(len(batch.start)):  # one sample at a time, to save memory: the products are in float64
            flat = torch.stack([row[i].double().flatten() for row in rows])
            gram += flat @ flat.T / flat.shape[1]
    x0 = torch.cat(ends)
    if not (bool(torch.isfinite(x0).all()) and bool(torch.isfinite(gram).all())):
        raise BadInput(
            "the reference solution is not finite, so there is nothing to calibrate for: check the weights of the model"
        )
    return ReferenceSolution(levels, gram / len(x0), x0, plan.nfe)
