"""Tells synthetic sounds whose tones are tones from sounds that have noise of the same bands in their place."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .. import dsp
from ..noise_substitution import replace_tones_by_noise
from ..tonal_statistics import tonal_statistics
from .kernel_ridge import KernelRidge

_FLOOR = -40.0  # dB; noise below is ignored, as by the other features of the checkers
_WIDTH, _RIDGE = 0.05, 0.1
_LIMIT = -0.25
"""Sounds with a lower score are noise: 0 would refuse too many of what log-mel codecs make of held-out sounds."""
_NOISES = ((16, 0.016), (16, 0.032), (28, 0.032), (40, 0.064))  # bands and seconds of a window
_CODECS = ((32, 0.032, 0.0), (40, 0.032, 0.5), (64, 0.064, 0.0), (64, 0.032, 0.5))  # and errors of log magnitudes
_HISS = dsp.db_to_amplitude(-34)
_ITERATIONS = 3  # of Griffin-Lim, from the phase of the sound


class ToneCheck:
    """Kernel ridge regression on `tonal_statistics` of tonal sounds and of copies with noise in the place of the tones.

    The tonal class also holds sounds with white noise at -34 dB, and sounds whose magnitudes went through mel bands,
    with and without errors, as in a log-mel codec: lines that it broadens still count as tones.

    Args:
        waves: (N, frames) of sounds with tones.
        rate: Hz.
    """

    def __init__(self, waves: Tensor, rate: float):
        self.rate = rate
        rng = torch.Generator().manual_seed(0)
        noise = [
            replace_tones_by_noise([waves[k :: len(_NOISES)]], rate, k, bands, seconds)[0]
            for k, (bands, seconds) in enumerate(_NOISES)
        ]
        some = waves[: len(waves) // 2]
        decoded = [
            _through_bands(some[k :: len(_CODECS)], rate, bands, seconds, error, rng)
            for k, (bands, seconds, error) in enumerate(_CODECS)
        ]
        hissing = some + _HISS * torch.randn(some.shape, generator=rng)
        features = self._features(torch.cat([waves, *decoded, hissing, *noise]))
        targets = torch.ones(len(features), 1)
        targets[-len(waves) :] = -1
        self.scores = KernelRidge(features, targets, _WIDTH, features.std(0).clamp(min=1e-3), _RIDGE)

    def has_tones(self, waves: Tensor) -> Tensor:
        """Which sounds (N, frames) have tones and not noise in their place, (N,) bool."""
        return self.scores(self._features(waves))[:, 0] > _LIMIT

    def _features(self, waves: Tensor) -> Tensor:
        return torch.cat([tonal_statistics(part, self.rate, _FLOOR) for part in waves.split(64)])


def _through_bands(
    waves: Tensor, rate: float, bands: int, seconds: float, error: float, rng: torch.Generator
) -> Tensor:
    """Sounds made from their mel bands, with normal errors of the log magnitudes, and from their phase."""
    n_fft = 2 ** round(math.log2(seconds * rate))
    hop = n_fft // 4
    filters = dsp.mel_filters(n_fft, rate, bands)
    spectrum = dsp.stft(functional.pad(waves, (0, -waves.shape[-1] % hop)), n_fft, hop)
    levels = filters @ spectrum.abs()
    magnitude = dsp.mel_to_spectrum(levels * (error * torch.randn(levels.shape, generator=rng)).exp(), filters, 4)
    rebuilt = dsp.griffin_lim(magnitude, n_fft, hop, _ITERATIONS, phase=spectrum.angle())
    return rebuilt[..., : waves.shape[-1]]
