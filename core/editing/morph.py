"""Interpolation: media back to the noise they come from, and along an arc between two such noises.

Media become noise by the probability-flow ODE run upwards (Song et al. 2021, "Denoising diffusion implicit models",
arXiv:2010.02502, section 5.3), here with Heun's steps; noises are joined by spherical interpolation (Shoemake 1985),
which keeps their norm; and the way down is the usual one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..noise import Noise
from ..samplers.base import Draft, Sampler, run
from ..samplers.heun import Heun
from ..schedulers.base import Schedule
from ..types import BadInput, Conditions, Denoiser, Level, expand
from .base import Edit


class Begin(Edit):
    """The run starts at x (B, C, *spatial), whatever its keyed noise.

    point: x at the first level
    """

    def __init__(self, point: Tensor):
        self.point = point

    def start(self, x: Tensor, level: Level, noise: Noise) -> Tensor:
        return self.point.to(x)


def inverted(
    denoiser: Denoiser,
    schedule: Schedule,
    levels: Sequence[Level],
    source: Tensor,
    conditions: Conditions | None = None,
    sampler: Sampler | None = None,
) -> Tensor:
    """The noise that comes down to `source` (B, C, *spatial): the ODE run up the levels, to the first of them.

    It starts at alpha y on the quietest level, for at sigma = 0 there is no direction to go. Heun's step up is not the
    inverse of its step down: each is off by O(step^3).

    levels:  falling, ending clean
    sampler: deterministic, of one estimate after the other; None: Heun's method

    Raises BadInput for a stochastic sampler, and where no level lies between noise and clean.
    """
    rising = [level for level in reversed(levels) if bool((torch.as_tensor(level.sigma) > 0).any())]
    if len(rising) < 2:
        raise BadInput("to find the noise behind a file takes 2 steps or more")
    sampler = Heun() if sampler is None else sampler
    if sampler.stochastic or sampler.adaptive:
        raise BadInput("the way back to noise takes a deterministic sampler with steps of its own, such as heun")
    draft = _Rising(schedule, rising)
    sampler.draft(draft)
    start = source * expand(rising[0].alpha, source)
    with torch.no_grad():
        return run(draft.finish(), denoiser, start, conditions)


class _Rising(Draft):
    """A draft whose levels rise: a sampler's formulas do not ask which way they go."""

    def __init__(self, schedule: Schedule, levels: Sequence[Level]):
        super().__init__(schedule, list(reversed(levels)))
        self.levels.reverse()
        self._rows[0] = (self.levels[0], *self._rows[0][1:])


def slerp(a: Tensor, b: Tensor, share: Tensor, valid: Tensor | None = None) -> Tensor:
    """sin((1 - s) w) / sin w a + sin(s w) / sin w b, w the angle between a and b (B, C, *spatial); share s (B,).

    Where the two are parallel: (1 - s) a + s b.

    valid: (B, 1, *spatial), 1 where the angle is measured
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


def mixed(a: Conditions, b: Conditions, share: Tensor) -> Conditions:
    """Conditions between those of a and b: every embedding (1 - s) a + s b, s (B,); the null rows of a."""

    def between(u: Tensor, v: Tensor) -> Tensor:
        s = share.to(u)[:, None]
        return (1 - s) * u + s * v

    return Conditions({k: between(u, b.embeddings[k]) for k, u in a.embeddings.items()}, a.null, a.valid, a.wrap)
