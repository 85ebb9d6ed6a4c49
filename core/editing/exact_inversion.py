"""Exact inversion to noise, and sampling from there: BELM (Wang et al. 2024, arXiv:2410.07273, section 3.2).

BELM relates three neighbouring points and one evaluation at the middle one (samplers/belm.py). Two neighbouring points
therefore determine all others, up and down: inversion returns the two noisiest points, and sampling from both, with the
same denoiser, returns the source with an error of rounding only, for any number of steps. With other conditions it
returns an edit of the source.

A pair of points is one tensor (B, 2 C, *spatial): the last point, then the one before it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor

from ..samplers.base import Plan, PlanBuilder, Sampler, Solution, SolverInputs, StepProgress, run_plan
from ..samplers.belm import two_step_point
from ..samplers.plan import LinearCombination
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel, broadcast_like
from ..util.rng import KeyedNoise
from .base import Edit, SamplerAndLevels

_SECOND = "second point"  # key under which a plan receives the second point of a pair


class ExactInversionEdit(Edit):
    """Inverts y to a pair of points at the two highest noise levels.

    Args:
        source: y (B, C, *spatial), of unit variance.
        strength: The highest level has tau of at most strength tau_max: 1 inverts to pure noise.
    """

    def __init__(self, source: Tensor, strength: float = 1.0):
        self.source, self.strength = source, strength

    def sampler_and_levels(
        self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]
    ) -> SamplerAndLevels:
        return _InvertingSampler(), _levels_up_to(levels, self.strength)[::-1]

    def start(self, x: Tensor, level: NoiseLevel, noise: KeyedNoise) -> Tensor:
        return broadcast_like(level.alpha, x) * self.source.to(x)


class StartFromPairEdit(Edit):
    """Samples from a pair of points that `ExactInversionEdit` returned.

    Args:
        pair: (B, 2 C, *spatial).
        strength: That of the inversion.
    """

    def __init__(self, pair: Tensor, strength: float = 1.0):
        self.pair, self.strength = pair, strength

    def sampler_and_levels(
        self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]
    ) -> SamplerAndLevels:
        return _PairSampler(), _levels_up_to(levels, self.strength)

    def start(self, x: Tensor, level: NoiseLevel, noise: KeyedNoise) -> Tensor:
        return self.pair.to(x)

    def end(self, x: Tensor) -> Tensor:
        return x.chunk(2, dim=1)[0]


def _levels_up_to(levels: Sequence[NoiseLevel], strength: float) -> list[NoiseLevel]:
    """The levels of which tau is at most `strength` times that of the first."""
    taus = [float(torch.as_tensor(level.tau)) for level in levels]
    kept = [level for level, tau in zip(levels, taus, strict=True) if tau <= strength * taus[0] * (1 + 1e-9)]
    if len(kept) < 3:
        remedy = "take more steps" if strength == 1 else "take more steps, or a larger strength"
        raise BadInput(f"exact inversion takes 2 steps or more, and these are {max(0, len(kept) - 1)}: {remedy}")
    return kept


class _InvertingSampler(Sampler):
    """BELM from clean data up to the two noisiest points.

    The first point above the data x_0 is x_1 = alpha_1 x_0 + sigma_1 eps(alpha_1 x_0). Any other would return the
    source too; this one is close to the ODE through it.
    """

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The plan for `levels`, which increase."""
        builder = PlanBuilder(schedule, levels, rising=True)
        before, (p, s) = builder.start(), builder.levels[:2]
        scaled = builder.point(before * (s.alpha / p.alpha), s)
        x = builder.step(scaled * 2.0 - builder.denoise(scaled) * s.alpha, s)
        return _continued(builder, before, x)

    def integrate(self, schedule: Schedule, levels: Sequence[NoiseLevel], inputs: SolverInputs) -> Solution:
        return _solve_for_pair(self.plan(schedule, levels), inputs, inputs.x, {})


class _PairSampler(Sampler):
    """BELM from a pair of points down."""

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The plan for `levels`, which decrease."""
        builder = PlanBuilder(schedule, levels)
        before = builder.start()
        x = builder.step(builder.noise(_SECOND), builder.levels[1])
        return _continued(builder, before, x)

    def integrate(self, schedule: Schedule, levels: Sequence[NoiseLevel], inputs: SolverInputs) -> Solution:
        first, second = inputs.x.chunk(2, dim=1)
        return _solve_for_pair(self.plan(schedule, levels), inputs, first, {_SECOND: second})


def _continued(builder: PlanBuilder, before: LinearCombination, x: LinearCombination) -> Plan:
    """The plan with a step to each level after the second, from the points `before` and x at the first two levels."""
    for p, s, t in zip(builder.levels, builder.levels[1:], builder.levels[2:], strict=False):
        before, x = x, builder.step(two_step_point(builder, before, x, p, s, t), t)
    return builder.finish()


def _solve_for_pair(plan: Plan, inputs: SolverInputs, x: Tensor, second: Mapping[Hashable, Tensor]) -> Solution:
    """Run a plan from x, and return its last two points as a pair."""
    points: list[Tensor] = []

    def on_step(at: StepProgress) -> None:
        points[:] = [at.x, *points[:1]]
        if inputs.on_step is not None:
            inputs.on_step(at)

    run_plan(plan, inputs.denoiser, x, inputs.conditions, second, on_step)
    return Solution(torch.cat(points, dim=1), (plan.nfe,) * len(x))
