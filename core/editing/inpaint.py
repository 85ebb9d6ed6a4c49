"""Inpainting and continuation: a part of x0 is known, the rest is sampled given that part.

replace: in every evaluation the estimate of x0 is replaced by the known y where y is known. All samplers preserve the
    marginals, so that there the state is alpha y + sigma z at every step, with the keyed noise z of the run, as in the
    forward process (Song et al. 2021, "Score-based generative modeling", arXiv:2011.13456, appendix I.2). The samples
    follow the conditional distribution only approximately, since the network sees the known part at the same noise
    level as the rest. Resampling reduces this error (Lugmayr et al. 2022, "RePaint", arXiv:2201.09865, section 4.2).
levels: the known part is clean from the first step, through a map of noise levels. For a network trained with
    per-element noise levels (objective.per_element) this samples the conditional distribution without resampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..guidance.base import SamplingRun
from ..samplers.base import Sampler
from ..schedulers.base import NoiseLevel64, Schedule
from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel, broadcast_like
from ..util.rng import KeyedNoise
from .base import Edit, SamplerAndLevels
from .known_elements import MaskOperator
from .repaint import RePaintSampler

Method = Literal["replace", "levels"]


class InpaintEdit(Edit):
    """Samples the unknown part of y; where y is known, the result equals y exactly.

    Args:
        source: y (B, C, *spatial), of unit variance; only its known elements are used.
        known: (B, 1, *spatial) bool, True where y is known.
        method: replace or levels, see above.
        resample: How often each segment of `jump` steps is run (RePaint); 1: no resampling.
        jump: Number of steps in a segment.

    Raises:
        BadInput: `method` is unknown, or `known` is not such a tensor.
    """

    def __init__(self, source: Tensor, known: Tensor, method: Method = "replace", resample: int = 1, jump: int = 4):
        if method not in ("replace", "levels"):
            raise BadInput(f"the method of inpainting is replace or levels, not {method!r}")
        if known.dtype != torch.bool or known.ndim != source.ndim:
            raise BadInput(f"known is a bool tensor (B, 1, *spatial), not {known.dtype} {tuple(known.shape)}")
        self.source, self.mask, self.method, self.resample, self.jump = (
            source,
            MaskOperator(known),
            method,
            resample,
            jump,
        )

    def sampler_and_levels(
        self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]
    ) -> SamplerAndLevels:
        if self.resample > 1:
            sampler = RePaintSampler(sampler, self.jump, self.resample)
        if self.method == "levels":
            levels = [self._map(level, schedule.clean()) for level in levels]
        return sampler, levels

    def _map(self, level: NoiseLevel, clean: NoiseLevel64) -> NoiseLevel:
        known = self.mask.known.cpu()
        pairs = ((clean.t, level.t), (clean.alpha, level.alpha), (clean.sigma, level.sigma))
        return NoiseLevel(*(torch.where(known, a, torch.as_tensor(b, dtype=torch.float64)) for a, b in pairs))

    def start(self, x: Tensor, level: NoiseLevel, noise: KeyedNoise) -> Tensor:
        return x + self.mask.fill_known(broadcast_like(level.alpha, x) * self.source.to(x), torch.zeros_like(x))

    def wrap_guided(self, denoiser: Denoiser, run: SamplingRun) -> Denoiser:
        noise = run.noise
        known = MaskOperator(self.mask.known.to(noise.device))  # copied once, and not at every evaluation
        return _KnownDenoiser(self.source.to(noise.device, noise.dtype), known, denoiser)

    def end(self, x: Tensor) -> Tensor:
        return self.mask.fill_known(self.source.to(x), x)


class _KnownDenoiser(Denoiser):
    """Replaces the estimate by y where y is known; there the state is not changed by guidance."""

    def __init__(self, source: Tensor, mask: MaskOperator, denoiser: Denoiser):
        self.source, self.mask, self.denoiser = source, mask, denoiser

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        found = self.denoiser.denoise(x, level, conditions)
        moved = None if found.x is None else self.mask.fill_known(x, found.x)
        return Estimate(self.mask.fill_known(self.source.to(x), found.x0), moved)
