"""Interpolation: media back to the noise they come from, and along an arc between two such noises.

Media become noise by the probability-flow ODE run upwards (Song et al. 2021, "Denoising diffusion implicit models",
arXiv:2010.02502, section 5.3); noises are joined by spherical interpolation (Shoemake 1985),
which keeps their norm; and the way down is the usual one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..samplers.base import Plan, PlannedSampler, Sampler
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel, expand
from ..util.rng import Noise
from .base import Course, Edit


class FromNoise(Edit):
    """The run starts at a given x, whatever its keyed noise.

    Args:
        point: x (B, C, *spatial) at the first level.
    """

    def __init__(self, point: Tensor):
        self.point = point

    def start(self, x: Tensor, level: NoiseLevel, noise: Noise) -> Tensor:
        return self.point.to(x)


class ToNoise(Edit):
    """Inversion: the run goes from y to the noise from which sampling would give y.

    It starts at alpha y on the least noisy level above sigma = 0, where the ODE has no direction, and ends at the
    noisiest. A step up is not the inverse of the step down between the same levels: Heun's are each off by O(step^3).

    Args:
        source: y (B, C, *spatial), unit variance.
    """

    def __init__(self, source: Tensor):
        self.source = source

    def course(self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Course:
        rising = [level for level in reversed(levels) if bool((torch.as_tensor(level.sigma) > 0).any())]
        if len(rising) < 2:
            raise BadInput("finding the noise behind a file takes 2 steps or more")
        return Upwards(sampler), rising

    def start(self, x: Tensor, level: NoiseLevel, noise: Noise) -> Tensor:
        return expand(level.alpha, x) * self.source.to(x)


class Upwards(Sampler):
    """A deterministic sampler on levels that rise: the same formulas, from data to noise.

    Args:
        sampler: The sampler whose formulas are used.

    Raises:
        BadInput: The sampler is stochastic, adaptive, or a stored plan.
    """

    def __init__(self, sampler: Sampler):
        if sampler.stochastic or sampler.adaptive or not isinstance(sampler, PlannedSampler):
            raise BadInput("the way back to noise takes a deterministic sampler with steps of its own, such as heun")
        self.sampler = sampler

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The rows for these levels (rising)."""
        return self.sampler.plan(schedule, levels, rising=True)


def slerp(a: Tensor, b: Tensor, share: Tensor, valid: Tensor | None = None) -> Tensor:
    """sin((1 - s) w) / sin w a + sin(s w) / sin w b, w the angle between a and b (B, C, *spatial); share s (B,).

    Where the two are parallel: (1 - s) a + s b.

    Args:
        valid: (B, 1, *spatial), 1 where the angle is measured.
    """
    seen = [v.double() if valid is None else v.double() * valid.to(v.device) for v in (a, b)]
    flat = [v.flatten(1) for v in seen]
    cosine = (flat[0] * flat[1]).sum(1) / (flat[0].norm(dim=1) * flat[1].norm(dim=1)).clamp(min=1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    s, sine = share.to(angle), torch.sin(angle)
    straight = sine < 1e-6
    safe = torch.where(straight, 1.0, sine)
    weights = [
        torch.where(straight, 1 - s, torch.sin((1 - s) * angle) / safe),
        torch.where(straight, s, torch.sin(s * angle) / safe),
    ]
    shaped = [w.to(a.dtype).reshape(-1, *[1] * (a.ndim - 1)) for w in weights]
    return shaped[0] * a + shaped[1] * b
