"""The exact probability-flow ODE of a Gaussian mixture, for any schedule, to about 1e-13.

Every schedule follows the same curves up to scale: with u = x / (alpha + sigma) and tau = sigma / (alpha + sigma),
du/dtau = E[eps - x0 | u]. tau is bounded and the right-hand side is finite at both ends, so the whole interval can be
solved, from alpha = 0 to sigma = 0. The method is Gragg's midpoint rule with extrapolation (Hairer, Norsett and Wanner
1993, "Solving ordinary differential equations I", section II.9): order 12, and nothing in common with any sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..types import Conditions, Level
from .mixture import GaussianMixture

Field = Callable[[float, Tensor], Tensor]


def solve(
    mixture: GaussianMixture, x: Tensor, levels: Sequence[Level], conditions: Conditions | None = None
) -> list[Tensor]:
    """The exact points at every level from x (B, *shape) float64 at levels[0]; levels are scalar, in any order."""
    u = x / float(levels[0].alpha + levels[0].sigma)
    curve = trajectory(mixture, u, [float(level.tau) for level in levels], conditions)
    return [point * float(level.alpha + level.sigma) for point, level in zip(curve, levels, strict=True)]


def trajectory(
    mixture: GaussianMixture,
    u: Tensor,
    taus: Sequence[float],
    conditions: Conditions | None = None,
    per_tau: int = 24,
) -> list[Tensor]:
    """u = x / (alpha + sigma) at every tau, from u (B, *shape) float64 at taus[0]: the same curve on every schedule.

    per_tau: steps of the method on a unit of tau; at least one between neighbours
    """

    def field(tau: float, u: Tensor) -> Tensor:
        return mixture.flow(u, Level(tau, 1 - tau, tau), conditions)

    curve = [u]
    for start, end in pairwise(taus):
        count = max(1, math.ceil(abs(end - start) * per_tau))
        for i in range(count):
            u = extrapolated(field, u, start + (end - start) * i / count, (end - start) / count)
        curve.append(u)
    return curve


def extrapolated(field: Field, u: Tensor, t: float, h: float, stages: int = 6) -> Tensor:
    """One step of length h: midpoint rules of 2, 4, ..., 2 `stages` parts, their errors in even powers cancelled."""
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


def random_start(mixture: GaussianMixture, level: Level, count: int, seed: int = 0) -> Tensor:
    """`count` points at a level, (count, *shape) float64: data plus noise, keyed."""
    x0, _ = mixture.sample(count, seed)
    noise = torch.randn(x0.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return level.alpha * x0 + level.sigma * noise
