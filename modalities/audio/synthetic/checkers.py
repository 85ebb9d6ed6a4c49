"""Reads the attributes of made sounds back from the sound alone: a judge of what a model was asked for.

Kernel ridge regression on a picture of the sound: log-mel bands aligned at the onset, 40 dB deep so that faint noise
does not count, with the envelope beside them (textures, which have no onset: statistics of the bands and of their
changes). w = (K + ridge I)^-1 T with K_ij = exp(-width |a_i - a_j|^2) and targets T of +1 for the right choice and -1
for the others (Hastie, Tibshirani and Friedman, "The elements of statistical learning", section 5.8). It is fitted on
sounds made for it from its own keys, half of them with a little noise added, when it is first used for a rate and
length: about two seconds, and the same numbers every time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ....core.types import BadInput
from ....core.util.rng import generator
from .. import dsp
from . import drums, synthesis, textures

_RIDGE = 0.02


class Checker(ABC):
    """Reads the choices that made sounds of one rate and length show.

    Args:
        rate: Hz, at least 4000.
        frames: Samples of a sound, at least 0.25 s; `longest` seconds are looked at.

    Attributes:
        made: What makes them: a module with FAMILIES, CHOICES, draw and render.
        name: Of the keys that its own sounds follow from.
    """

    made: ModuleType
    name: str
    width: float
    longest = 1.0
    count = 2400  # sounds it is fitted on

    def __init__(self, rate: float = 8000.0, frames: int = 8000):
        if rate < 4000 or frames < 0.25 * rate:
            raise BadInput(f"sounds of at least 4000 Hz and 0.25 s can be read; got {rate:g} Hz, {frames / rate:g} s")
        self.rate, self.seconds = rate, min(self.longest, frames / rate)
        self.own_rate = min(rate, 8000.0)
        self.hop = round(self.own_rate * 0.008 * min(1.0, self.seconds))
        self.filters = dsp.mel_filters(4 * self.hop, self.own_rate, max(8, min(32, self.hop // 2)))
        self._fit()

    def _fit(self) -> None:
        waves, targets, families = [], [], self.made.FAMILIES
        for i in range(self.count):
            rng = generator(0, i, f"audio/{self.name} checker")
            what = self.made.draw(rng, families[i % len(families)])
            wave = self.made.render(what, self.own_rate, self.seconds, rng)
            if i // len(families) % 2:
                wave = wave + rng.standard_normal(len(wave), dtype=np.float32) * dsp.amplitude(rng.uniform(-70, -36))
            waves.append(torch.from_numpy(wave))
            told = what.attributes()
            targets.append(
                [2.0 * (told[name] == choice) - 1 for name, options in self.made.CHOICES.items() for choice in options]
            )
        features = self._features(torch.stack(waves))
        self.mean, self.scale = features.mean(0), self._scale(features)
        self.known = (features - self.mean) / self.scale
        kernel = self._kernel(self.known).double()
        kernel.diagonal().add_(_RIDGE)
        factor = torch.linalg.cholesky(kernel)
        self.weights = torch.cholesky_solve(torch.tensor(targets, dtype=torch.float64), factor).float()

    def _kernel(self, centred: Tensor) -> Tensor:
        return torch.exp(-self.width * torch.cdist(centred, self.known).square())

    def _scale(self, features: Tensor) -> Tensor:
        return torch.ones(())

    @abstractmethod
    def _features(self, waves: Tensor) -> Tensor:
        """(N, frames) at own_rate -> (N, d)."""

    def read(self, sounds: Sequence[Tensor]) -> list[dict[str, str]]:
        """The choices that each sound (C, frames) shows, by name: {"family": "laser", "pitch": "low", ...}."""
        count = round(self.own_rate * self.seconds)
        most = max(sound.shape[-1] for sound in sounds)
        mono = [functional.pad(s.detach().float().cpu().mean(0), (0, most - s.shape[-1])) for s in sounds]
        waves = torch.cat([dsp.resample(w, self.rate, self.own_rate)[:, :count] for w in torch.stack(mono).split(64)])
        waves = functional.pad(waves, (0, count - waves.shape[-1]))
        scores = self._kernel((self._features(waves) - self.mean) / self.scale) @ self.weights
        read: list[dict[str, str]] = [{} for _ in sounds]
        sizes = [len(options) for options in self.made.CHOICES.values()]
        for (name, options), part in zip(self.made.CHOICES.items(), scores.split(sizes, 1), strict=True):
            for row, choice in zip(read, part.argmax(1).tolist(), strict=True):
                row[name] = options[choice]
        return read


class SfxChecker(Checker):
    """Reads family, pitch, length, sweep, noise and echo of game sounds. rate, frames: see Checker."""

    made, name, width = synthesis, "sfx", 0.015

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


class DrumChecker(SfxChecker):
    """Reads family, pitch, length and tone of drum-like hits. rate, frames: see Checker."""

    made, name, count = drums, "drums", 1200


class TextureChecker(Checker):
    """Reads family, pace and tone of textures, wherever in one a sound begins. rate, frames: see Checker."""

    made, name, width, longest, count = textures, "textures", 0.006, 2.0, 900

    def _features(self, waves: Tensor) -> Tensor:
        """(N, frames) at own_rate -> (N, d): of each band in dB its mean, spread and change; how the envelope moves."""
        hop = self.hop // 4 * 2
        waves = functional.pad(waves, (0, -waves.shape[-1] % hop))
        bands = [self.filters @ dsp.stft(part, 4 * self.hop, hop).abs() for part in waves.split(256)]
        level = dsp.db(torch.cat(bands) / torch.cat(bands).amax((1, 2), keepdim=True).clamp(min=1e-10), -60.0) / 10
        fine = functional.avg_pool1d(waves.square(), max(1, round(self.own_rate * 0.002))).sqrt()
        fine = fine / fine.mean(1, keepdim=True).clamp(min=1e-10) - 1
        power = torch.fft.rfft(fine, dim=1).abs().square()
        hertz = torch.fft.rfftfreq(fine.shape[1], 0.002)
        edges = 0.4 * 2.0 ** (torch.arange(0, 20) / 2)
        moved = [power[:, (hertz >= a) & (hertz < b)].sum(1) for a, b in pairwise(edges)]
        motion = torch.log10(torch.stack(moved, 1) / fine.shape[1] ** 2 + 1e-7)
        crest = torch.log10(fine.amax(1, keepdim=True) + 1)
        change = level.diff(dim=2).abs().mean(2)
        return torch.cat([level.mean(2), level.std(2), change, motion, crest], 1)

    def _scale(self, features: Tensor) -> Tensor:
        return features.std(0).clamp(min=1e-3)


KINDS = {"sfx": SfxChecker, "drums": DrumChecker, "textures": TextureChecker}


@lru_cache(maxsize=6)
def checker(rate: float, frames: int, kind: str = "sfx") -> Checker:
    """The fitted checker for a rate in Hz, a length in samples and a kind of sounds (a key of KINDS), made once."""
    return KINDS[kind](rate, frames)


def attributes(sounds: Sequence[Tensor], rate: float, kind: str = "sfx") -> list[dict[str, str]]:
    """The attributes that each sound (C, frames) shows; all of one rate, judged at the length of the longest."""
    if not sounds:
        return []
    return checker(float(rate), max(s.shape[-1] for s in sounds), kind).read(sounds)


def families(sounds: Sequence[Tensor], rate: float, kind: str = "sfx") -> list[str]:
    """The family that each sound (C, frames) shows."""
    return [row["family"] for row in attributes(sounds, rate, kind)]


def family(sound: Tensor, rate: float, kind: str = "sfx") -> str:
    """The family that one sound (C, frames) shows."""
    return families([sound], rate, kind)[0]
