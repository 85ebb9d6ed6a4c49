"""Log-mel images of sounds for the small classifier of eval, and their augmentation in training."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from . import dsp

BANDS, RANGE = 32, 60.0
_LONGEST = 160  # maximum number of columns; for longer sounds, columns are longer


def mel_images(sounds: Tensor, rate: float) -> Tensor:
    """(N, C, frames) -> (N, 1, 32 bands, columns of 16 ms) in [-1, 1]: dB below the maximum, at least -60 dB.

    For sounds longer than 2.5 s, columns are longer, so that there are at most 160.
    """
    n_fft = 2 ** round(math.log2(0.032 * rate))
    hop = n_fft // 2
    wave = F.pad(sounds.mean(1), (0, -sounds.shape[-1] % hop))
    magnitude = dsp.mel_filters(n_fft, rate, BANDS) @ dsp.stft(wave, n_fft, hop).abs()
    merged = -(-magnitude.shape[-1] // _LONGEST)
    if merged > 1:
        magnitude = F.avg_pool1d(magnitude, merged, ceil_mode=True)
    level = dsp.amplitude_to_db(magnitude, floor=-200)
    level = level - level.amax((1, 2), keepdim=True)
    return (level.clamp(min=-RANGE) / RANGE * 2 + 1)[:, None]


def augment_mel_images(x: Tensor, rng: torch.Generator) -> Tensor:
    """Random augmentation of images (B, 1, bands, columns).

    Time stretch, shift and pitch shift, a raised noise floor, and masks along frequency and time (Park et al. 2019,
    "SpecAugment").
    """
    x = torch.maximum(_warped(x, rng), _floor(x, rng))
    return torch.where(_gap(x, 2, 6, rng) | _gap(x, 3, 12, rng), torch.full_like(x, -0.9), x)


def _draw(n: int, size: float, rng: torch.Generator) -> Tensor:
    return (2 * torch.rand(n, generator=rng) - 1) * size


def _warped(x: Tensor, rng: torch.Generator) -> Tensor:
    n, none = len(x), torch.zeros(len(x))
    along = [torch.exp(_draw(n, 0.2, rng)), none, _draw(n, 0.25, rng)]
    across = [none, torch.exp(_draw(n, 0.08, rng)), _draw(n, 0.06, rng)]
    theta = torch.stack([*along, *across], dim=1).reshape(n, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _floor(x: Tensor, rng: torch.Generator) -> Tensor:
    size = (len(x), 1, 1, 1)
    raised = (torch.rand(size, generator=rng) < 0.7) * torch.rand(size, generator=rng) * 0.8
    return raised - 1 + 0.08 * torch.randn(x.shape, generator=rng)


def _gap(x: Tensor, axis: int, widest: int, rng: torch.Generator) -> Tensor:
    """A mask of fewer than `widest` neighbouring positions along an axis."""
    n, size = len(x), x.shape[axis]
    start, width = (torch.randint(0, top, (n, 1), generator=rng) for top in (size, widest))
    place = torch.arange(size)[None]
    inside = (place >= start) & (place < start + width)
    return inside[:, None, :, None] if axis == 2 else inside[:, None, None, :]
