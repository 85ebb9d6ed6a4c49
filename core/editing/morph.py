"""Inversion and interpolation: media are inverted to noise, and samples start between two such noises.

The probability-flow ODE, solved from data to noise, inverts media (Song et al. 2021, "Denoising diffusion implicit
models", arXiv:2010.02502, section 5.3). Spherical interpolation (Shoemake 1985) of two noises preserves their norm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..samplers.base import Plan, PlannedSampler, Sampler
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel, broadcast_like
from ..util.rng import KeyedNoise
from .base import Edit, SamplerAndLevels


class StartFromStateEdit(Edit):
    """Starts the run from a given state instead of keyed noise.

    Args:
        point: x (B, C, *spatial) at the first level.
    """

    def __init__(self, point: Tensor):
        self.point = point

    def start(self, x: Tensor, level: NoiseLevel, noise: KeyedNoise) -> Tensor:
        return self.point.to(x)


class InversionEdit(Edit):
    """Inversion: runs from y to the noise from which sampling generates y.

    The run starts from alpha y at the lowest level with sigma > 0 (at sigma = 0 the ODE is not defined) and ends at the
    highest level. A step up is not the exact inverse of the step down between the same levels; with Heun's method each
    has an error of O(step^3).

    Args:
        source: y (B, C, *spatial), of unit variance.
    """

    def __init__(self, source: Tensor):
        self.source = source

    def sampler_and_levels(
        self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]
    ) -> SamplerAndLevels:
        rising = [level for level in reversed(levels) if bool((torch.as_tensor(level.sigma) > 0).any())]
        if len(rising) < 2:
            raise BadInput("inverting a file to noise takes 2 steps or more")
        return ReversedSampler(sampler), rising

    def start(self, x: Tensor, level: NoiseLevel, noise: KeyedNoise) -> Tensor:
        return broadcast_like(level.alpha, x) * self.source.to(x)


class ReversedSampler(Sampler):
    """A deterministic sampler on increasing noise levels: the same formulas, from data to noise.

    Args:
        sampler: The sampler to reverse.

    Raises:
        BadInput: The sampler is stochastic, adaptive, or a stored plan.
    """

    def __init__(self, sampler: Sampler):
        if sampler.stochastic or sampler.adaptive or not isinstance(sampler, PlannedSampler):
            raise BadInput("inversion takes a deterministic sampler with fixed steps, such as heun")
        self.sampler = sampler

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The plan for `levels`, which increase."""
        return self.sampler.plan(schedule, levels, rising=True)


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985), with w the angle between a and b:

        slerp = sin((1 - s) w) / sin(w) a + sin(s w) / sin(w) b

    If a and b are parallel, it is (1 - s) a + s b.

    Args:
        a: (B, C, *spatial).
        b: (B, C, *spatial).
        share: s (B,), 0 to 1.
    """
    flat = [v.double().flatten(1) for v in (a, b)]
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
