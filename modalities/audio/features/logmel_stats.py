"""112 features of a sound without trained weights, for Frechet distance, MMD and nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ....core.types import BadInput, MediaSpec
from .. import dsp


class LogmelStats:
    """Statistics of log-mel bands: mean, deviation and mean change of each band, and the envelope; in dB / 10.

    [mean_t L_mt, std_t L_mt, mean_t |L_m,t+1 - L_mt|, E_k] with L in dB: 3 bands + steps features. Padding is
    trimmed, and the floor is relative to the maximum of the sound: with an absolute floor, inaudible noise in digital
    silence would dominate. Standardise with the statistics of the real data before distances are computed.

    Args:
        spec: Media specification; its rate is used where a call gives none.
        bands: Number of mel bands up to half the rate.
        steps: Number of parts of equal length for the envelope.
        floor: Lowest level in dB relative to the sound's loudest band.
    """

    def __init__(self, spec: MediaSpec | None = None, bands: int = 32, steps: int = 16, floor: float = -60.0):
        if bands < 4 or steps < 1 or not -120 <= floor <= -20:
            raise BadInput(
                f"logmel_stats takes 4 bands or more, 1 step or more and a floor from -120 to -20 dB; "
                f"got {bands}, {steps} and {floor}"
            )
        self.rate = None if spec is None else spec.rate
        self.bands, self.steps, self.floor = bands, steps, floor

    def __call__(self, sounds: Sequence[Tensor], rate: float | None = None) -> np.ndarray:
        """Sounds (C, frames) of any lengths at `rate` Hz -> (N, d) float64.

        Raises:
            BadInput: For non-finite samples.
        """
        rate = rate or self.rate
        if rate is None:
            raise BadInput("logmel_stats needs the sounds' rate in Hz")
        return np.stack([self._one(sound, rate) for sound in sounds]) if len(sounds) else np.zeros((0, self.size))

    @property
    def size(self) -> int:
        """d, the number of features."""
        return 3 * self.bands + self.steps

    def _one(self, sound: Tensor, rate: float) -> np.ndarray:
        wave = sound.detach().cpu().double().mean(0)
        if not torch.isfinite(wave).all():
            raise BadInput("a sound has non-finite samples, so it has no features")
        n_fft = 2 ** max(6, round(math.log2(rate * 0.032)))
        hop = n_fft // 4
        wave = dsp.trim_silence(wave[None], rate)[0]
        wave = functional.pad(wave, (0, -len(wave) % hop if len(wave) else hop))
        filters = dsp.mel_filters(n_fft, rate, self.bands).double()
        level = self._db((filters @ dsp.stft(wave, n_fft, hop).abs().square()).sqrt())  # (bands, T)
        change = level.diff(dim=1).abs().mean(1) if level.shape[1] > 1 else torch.zeros(self.bands).double()
        pieces = torch.tensor_split(functional.pad(wave, (0, max(0, self.steps - len(wave)))), self.steps)
        outline = self._db(torch.stack([piece.square().mean().sqrt() for piece in pieces]))
        return torch.cat([level.mean(1), level.std(1, unbiased=False), change, outline]).numpy() / 10

    def _db(self, amplitude: Tensor) -> Tensor:
        return dsp.amplitude_to_db(amplitude, floor=float(dsp.amplitude_to_db(amplitude.max(), -120.0)) + self.floor)
