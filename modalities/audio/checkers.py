"""Reads the attributes of made sound effects back from the sound alone: a judge of what a model was asked for.

Kernel ridge regression on a picture of the sound: log-mel bands aligned at the onset, 40 dB deep so that faint noise
does not count, with the envelope beside them. w = (K + ridge I)^-1 T with K_ij = exp(-width |a_i - a_j|^2) and targets
T of +1 for the right choice and -1 for the others (Hastie, Tibshirani and Friedman, "The elements of statistical
learning", section 5.8). It is fitted on sounds made for it from its own keys, half of them with a little noise added,
when it is first used for a rate and length: about two seconds, and the same numbers every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...core.noise import generator
from ...core.types import BadInput
from . import dsp
from .synthesis import CHOICES, FAMILIES, draw, render

_MADE = 2400  # sounds it is fitted on
_WIDTH, _RIDGE = 0.015, 0.02


class SfxChecker:
    """Reads family, pitch, length, sweep, noise and echo of sounds of one rate and length.

    rate: Hz, at least 4000
    frames: samples of a sound; one second is looked at
    """

    def __init__(self, rate: float = 8000.0, frames: int = 8000):
        if rate < 4000 or frames < 0.25 * rate:
            raise BadInput(f"sounds of at least 4000 Hz and 0.25 s can be read; got {rate:g} Hz, {frames / rate:g} s")
        self.rate, self.seconds = rate, min(1.0, frames / rate)
        self.own_rate = min(rate, 8000.0)
        self.hop = round(self.own_rate * 0.008 * self.seconds)
        self.filters = dsp.mel_filters(4 * self.hop, self.own_rate, max(8, min(32, self.hop // 2)))
        self._fit()

    def _fit(self) -> None:
        waves, targets = [], []
        for i in range(_MADE):
            rng = generator(0, i, "audio/sfx checker")
            effect = draw(rng, FAMILIES[i % len(FAMILIES)])
            wave = render(effect, self.own_rate, self.seconds, rng)
            if i // len(FAMILIES) % 2:
                wave = wave + rng.standard_normal(len(wave), dtype=np.float32) * dsp.amplitude(rng.uniform(-70, -36))
            waves.append(torch.from_numpy(wave))
            told = effect.attributes()
            targets.append(
                [2.0 * (told[name] == choice) - 1 for name, options in CHOICES.items() for choice in options]
            )
        features = self._features(torch.stack(waves))
        self.mean = features.mean(0)
        self.known = features - self.mean
        kernel = self._kernel(self.known).double()
        kernel.diagonal().add_(_RIDGE)
        factor = torch.linalg.cholesky(kernel)
        self.weights = torch.cholesky_solve(torch.tensor(targets, dtype=torch.float64), factor).float()

    def _kernel(self, centred: Tensor) -> Tensor:
        return torch.exp(-_WIDTH * torch.cdist(centred, self.known).square())

    def _spectrum(self, waves: Tensor) -> Tensor:
        """Magnitudes (N, bins, T) of (N, frames), each moved so that it begins at its onset: 26 dB under its loudest.

        The onset is found in blocks of 2 ms: where an onset falls between two frames must not matter.
        """
        block = max(1, self.hop // 4)
        loud = functional.avg_pool1d(waves.square(), block)
        start = (loud > 0.0025 * loud.amax(1, keepdim=True)).float().argmax(1) * block
        count = -(-waves.shape[-1] // self.hop) * self.hop
        places = start[:, None] + torch.arange(count)
        return dsp.stft(functional.pad(waves, (0, count)).gather(1, places), 4 * self.hop, self.hop).abs()

    def _features(self, waves: Tensor) -> Tensor:
        """(N, frames) at own_rate -> (N, d): the picture, finer in time at the start, and the envelope."""
        power = torch.cat([self.filters @ self._spectrum(part).square() for part in waves.split(256)])

        def level(p: Tensor) -> Tensor:  # 0 at -40 dB and below, 1 at the loudest point
            return (
                1 + torch.log10(p / p.flatten(1).amax(1).reshape(-1, *[1] * (p.ndim - 1)).clamp(min=1e-20) + 1e-4) / 4
            )

        picture, outline = level(power), level(power.sum(1))
        early = functional.avg_pool1d(picture[..., :24], 2) * 0.8
        late = functional.avg_pool1d(picture[..., 24:], 4, ceil_mode=True)
        return torch.cat([early.flatten(1), late.flatten(1), outline], 1)

    def read(self, sounds: Sequence[Tensor]) -> list[dict[str, str]]:
        """The choices that each sound (C, frames) shows, by name: {"family": "laser", "pitch": "low", ...}."""
        count = round(self.own_rate * self.seconds)
        waves = []
        for sound in sounds:
            wave = dsp.resample(sound.detach().float().cpu().mean(0), self.rate, self.own_rate)[:count]
            waves.append(functional.pad(wave, (0, count - len(wave))))
        scores = self._kernel(self._features(torch.stack(waves)) - self.mean) @ self.weights
        read: list[dict[str, str]] = [{} for _ in waves]
        for (name, options), part in zip(
            CHOICES.items(), scores.split([len(o) for o in CHOICES.values()], 1), strict=True
        ):
            for row, choice in zip(read, part.argmax(1).tolist(), strict=True):
                row[name] = options[choice]
        return read


@lru_cache(maxsize=4)
def checker(rate: float, frames: int) -> SfxChecker:
    """The fitted checker for a rate in Hz and a length in samples, made once."""
    return SfxChecker(rate, frames)


def attributes(sounds: Sequence[Tensor], rate: float) -> list[dict[str, str]]:
    """The attributes that each sound (C, frames) shows; all of one rate, judged at the length of the longest."""
    if not sounds:
        return []
    return checker(float(rate), max(s.shape[-1] for s in sounds)).read(sounds)


def families(sounds: Sequence[Tensor], rate: float) -> list[str]:
    """The family that each sound (C, frames) shows."""
    return [row["family"] for row in attributes(sounds, rate)]


def family(sound: Tensor, rate: float) -> str:
    """The family that one sound (C, frames) shows."""
    return families([sound], rate)[0]
