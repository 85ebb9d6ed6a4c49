"""Noise in the place of tones: what a model makes that has learned the bands of a sound and not its lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from . import dsp

_STEPS = 6  # from bands to a spectrum; the scaling afterwards corrects the level


def replace_tones_by_noise(
    sounds: Sequence[Tensor], rate: float, seed: int = 0, bands: int = 24, window: float = 0.032
) -> list[Tensor]:
    """Copies in which noise has the power of each sound in mel bands and short windows (perceptual noise substitution).

    y = istft(N g), with N the STFT of white noise and g^2 a spectrum whose mel bands are those of |X|^2: bands,
    envelope and the RMS of each channel are kept, tones are not. A measure of tones must tell y from x, where x has
    tones.

    Source: Herre and Schulz 1998, "Extending the MPEG-4 AAC codec by perceptual noise substitution".

    Args:
        sounds: (C, frames) each, of any lengths.
        rate: Hz.
        seed: Seed of the noise.
        bands: Number of mel bands up to half the rate.
        window: Length of the windows in seconds.
    """
    rng = torch.Generator().manual_seed(seed)
    n_fft = 2 ** round(math.log2(window * rate))
    hop = n_fft // 4
    filters = dsp.mel_filters(n_fft, rate, bands)

    def replace(sound: Tensor) -> Tensor:
        wave = sound.detach().float().cpu()
        padded = functional.pad(wave, (0, -wave.shape[-1] % hop))
        power = dsp.mel_to_spectrum(filters @ dsp.stft(padded, n_fft, hop).abs().square(), filters, _STEPS)
        noise = dsp.stft(torch.randn(padded.shape, generator=rng), n_fft, hop)
        copy = dsp.istft(noise * power.sqrt(), n_fft, hop)[..., : wave.shape[-1]]
        return copy * (dsp.rms(wave) / dsp.rms(copy).clamp(min=dsp.SILENCE))[..., None]

    return [replace(sound) for sound in sounds]
