"""The exact probability-flow ODE of a test problem, for any schedule, to about 1e-12.

All schedules follow the same curves up to scale: with u = x / (alpha + sigma) and tau = sigma / (alpha + sigma),
du/dtau = E[eps - x0 | u]. tau is bounded and the right-hand side is finite at both ends, so the ODE can be solved on
the whole interval, from alpha = 0 to sigma = 0. Where the data's standard deviation along a direction is s the solution
grows like sqrt((1 - tau)^2 s^2 + tau^2), so steps become shorter with tau down to about the smallest s: equal steps in
asinh(tau / s). The method is Gragg's midpoint rule with extrapolation (Hairer, Norsett and Wanner 1993, "Solving
ordinary differential equations I", section II.9): order 12, and unrelated to any sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..types import Conditioning, NoiseLevel
from .base import AnalyticProblem

Field = Callable[[float, Tensor], Tensor]


def solve_ode(
    problem: AnalyticProblem, x: Tensor, levels: Sequence[NoiseLevel], conditions: Conditioning | None = None
) -> list[Tensor]:
    """The exact points at every level from x at levels[0].

    Args:
        problem: The problem.
        x: (B, *shape) float64, the points at levels[0].
        levels: Scalar levels, in any order.
        conditions: The conditions of each row.
    """
    u = x / float(levels[0].alpha + levels[0].sigma)
    curve = solve_in_tau(problem, u, [float(level.tau) for level in levels], conditions)
    return [point * float(level.alpha + level.sigma) for point, level in zip(curve, levels, strict=True)]


def solve_in_tau(
    problem: AnalyticProblem,
    u: Tensor,
    taus: Sequence[float],
    conditions: Conditioning | None = None,
    density: float = 12,
) -> list[Tensor]:
    """u = x / (alpha + sigma) at every tau, from u at taus[0]: the same curve on every schedule.

    Args:
        problem: The problem.
        u: (B, *shape) float64, the points at taus[0].
        taus: Levels tau, in any order.
        conditions: The conditions of each row.
        density: Steps of the method per unit of asinh(tau / s), s the problem's scale; at least one between neighbours.
    """
    s = min(max(problem.scale, 1e-3), 0.5)

    def field(tau: float, u: Tensor) -> Tensor:
        return problem.flow(u, NoiseLevel(tau, 1 - tau, tau), conditions)

    curve = [u]
    for start, end in pairwise(taus):
        a, b = math.asinh(start / s), math.asinh(end / s)
        count = max(1, math.ceil(abs(b - a) * density))
        stops = [start, *(s * math.sinh(a + (b - a) * i / count) for i in range(1, count)), end]
        for t, after in pairwise(stops):
            u = extrapolation_step(field, u, t, after - t)
        curve.append(u)
    return curve


def extrapolation_step(field: Field, u: Tensor, t: float, h: float, stages: int = 6) -> Tensor:
    """One step of length h, by extrapolation of midpoint rules with 2, 4, ..., 2 `stages` parts.

    The extrapolation cancels the even powers of the error.
    """
    parts = [2 * (j + 1) for j in range(stages)]
    slope = field(t, u)
    table = [_midpoint(field, u, t, h, n, slope) for n in parts]
    for k in range(1, stages):
        for j in range(stages - 1, k - 1, -1):
            table[j] = table[j] + (table[j] - table[j - 1]) / ((parts[j] / parts[j - k]) ** 2 - 1)
    return table[-1]


def _midpoint(field: Field, u: Tensor, t: float, h: float, parts: int, slope: Tensor) -> Tensor:
    part = h / parts
    before, now = u, u + part * slope
    for i in range(1, parts):
        before, now = now, before + 2 * part * field(t + i * part, now)
    return now


def random_start(problem: AnalyticProblem, level: NoiseLevel, count: int, seed: int = 0) -> Tensor:
    """`count` points at a level, (count, *shape) float64: data plus noise, keyed."""
    x0 = problem.draw(count, seed)
    noise = torch.randn(x0.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return level.alpha * x0 + level.sigma * noise
