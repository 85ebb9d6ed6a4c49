"""Inpainting and continuation: a part is known, the rest is sampled given it.

replace: wherever the sampler asks, the estimate of x0 is the known y where y is known. A sampler keeps marginals, so
    there the state is alpha y + sigma z at every point of every method, with the run's own keyed noise z: the known
    part's forward noise (Song et al. 2021, "Score-based generative modeling", arXiv:2011.13456, appendix I.2). The law
    is not quite the conditional one, for the rest was denoised beside a known part that is as noisy as itself. Jumps
    back up make up for some of that (Lugmayr et al. 2022, "RePaint", arXiv:2201.09865, section 4.2).
levels: what is known is clean from the start, by a map of levels. For a network trained on levels that differ within a
    sample (objective.per_element) that is the conditional law, without jumps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..guidance.base import Run
from ..samplers.base import Sampler
from ..schedulers.base import NoiseLevel64, Schedule
from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel, expand
from ..util.rng import Noise
from .base import Course, Edit
from .jumps import Resampled
from .operators.mask import Mask

Method = Literal["replace", "levels"]


class Inpaint(Edit):
    """Keeps y where it is known; the result is y there, exactly.

    Args:
        source: y (B, C, *spatial), unit variance; read where known.
        known: (B, 1, *spatial) bool.
        method: replace, or levels: how the network sees y, see above.
        resample: How often each stretch of `jump` steps is run (RePaint); 1: once, without jumps back up.
        jump: Steps in a stretch.
    """

    def __init__(self, source: Tensor, known: Tensor, method: Method = "replace", resample: int = 1, jump: int = 4):
        if method not in ("replace", "levels"):
            raise BadInput(f"inpainting works by replace or by levels, not by {method!r}")
        if known.dtype != torch.bool or known.ndim != source.ndim:
            raise BadInput(f"known is a bool tensor (B, 1, *spatial), not {known.dtype} {tuple(known.shape)}")
        self.source, self.mask, self.method, self.resample, self.jump = source, Mask(known), method, resample, jump

    def course(self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Course:
        if self.resample > 1:
            sampler = Resampled(sampler, self.jump, self.resample)
        if self.method == "levels":
            levels = [self._map(level, schedule.clean()) for level in levels]
        return sampler, levels

    def _map(self, level: NoiseLevel, clean: NoiseLevel64) -> NoiseLevel:
        known = self.mask.known.cpu()
        pairs = ((clean.t, level.t), (clean.alpha, level.alpha), (clean.sigma, level.sigma))
        return NoiseLevel(*(torch.where(known, a, torch.as_tensor(b, dtype=torch.float64)) for a, b in pairs))

    def start(self, x: Tensor, level: NoiseLevel, noise: Noise) -> Tensor:
        return x + self.mask.joined(expand(level.alpha, x) * self.source.to(x), torch.zeros_like(x))

    def around(self, denoiser: Denoiser, run: Run) -> Denoiser:
        return _KnownDenoiser(self, denoiser)

    def end(self, x: Tensor) -> Tensor:
        return self.mask.joined(self.source.to(x), x)


class _KnownDenoiser(Denoiser):
    """The estimate is y where y is known, and nothing moves the state there."""

    def __init__(self, edit: Inpaint, denoiser: Denoiser):
        self.edit, self.denoiser = edit, denoiser

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        found, mask = self.denoiser.denoise(x, level, conditions), self.edit.mask
        moved = None if found.x is None else mask.joined(x, found.x)
        return Estimate(mask.joined(self.edit.source.to(x), found.x0), moved)
