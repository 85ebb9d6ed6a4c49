"""Predicts the attributes of synthetic sounds from the audio alone, to check whether samples match their conditions.

Kernel ridge regression (`kernel_ridge.py`) on an image of the sound: log-mel bands aligned at the onset, with a range
of 40 dB so that faint noise is ignored, and the envelope (for textures, which have no onset: statistics of the bands
and of their changes). It is fitted on synthetic sounds with separate random keys, half of them with a little added
noise, when it is first used for a rate and length. This takes about three seconds and is deterministic.

Bands do not tell a tone from noise: where the predicted family is one of tones, a second classifier (`tone_check.py`)
must find tones, or the family is NONE.
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
from ....core.util.rng import keyed_generator
from .. import dsp
from . import drums, textures
from . import effects as synthesis
from .kernel_ridge import KernelRidge
from .tone_check import ToneCheck

NONE = "none"
"""The predicted family of a sound that has noise in the place of the tones of its family."""
_TONAL_COUNT = 300  # training sounds with tones for the check of tones


class SoundPredictor(ABC):
    """Predicts the choices behind synthetic sounds of one rate and length.

    Args:
        rate: Hz, at least 4000.
        frames: Samples of a sound, at least 0.25 s; at most `longest` seconds are used.

    Attributes:
        synthesizer: The module that generates the sounds: a `SynthesisModule` that also has CHOICES.
        name: Part of the random keys of the training sounds.
        width: Factor of the squared distance in the kernel.
        longest: Maximum seconds of a sound that are used.
        count: Number of training sounds.
        tonal: The families that have tones.
    """

    synthesizer: ModuleType
    name: str
    width: float
    longest = 1.0
    count = 2400
    tonal: frozenset[str] = frozenset()

    def __init__(self, rate: float = 8000.0, frames: int = 8000):
        if rate < 4000 or frames < 0.25 * rate:
            raise BadInput(f"sounds of at least 4000 Hz and 0.25 s can be read; got {rate:g} Hz, {frames / rate:g} s")
        self.rate, self.seconds = rate, min(self.longest, frames / rate)
        self.working_rate = min(rate, 8000.0)
        self.hop = round(self.working_rate * 0.008 * min(1.0, self.seconds))
        self.filters = dsp.mel_filters(4 * self.hop, self.working_rate, max(8, min(32, self.hop // 2)))
        self._fit()

    def _fit(self) -> None:
        sounds, waves, families = [], [], self.synthesizer.FAMILIES
        for i in range(self.count):
            rng = keyed_generator(0, i, f"audio/{self.name} checker")
            sound = self.synthesizer.draw_description(rng, families[i % len(families)])
            wave = self.synthesizer.render_sound(sound, self.working_rate, self.seconds, rng)
            if i // len(families) % 2:
                wave = wave + rng.standard_normal(len(wave), dtype=np.float32) * dsp.db_to_amplitude(
                    rng.uniform(-70, -36)
                )
            sounds.append(sound.attributes())
            waves.append(torch.from_numpy(wave))
        choices = self.synthesizer.CHOICES.items()
        targets = [[2.0 * (s[name] == one) - 1 for name, options in choices for one in options] for s in sounds]
        features = self._features(torch.stack(waves))
        self.scores = KernelRidge(features, torch.tensor(targets), self.width, self._scale(features))
        tones = [wave for wave, s in zip(waves, sounds, strict=True) if s["family"] in self.tonal]
        self.tones = ToneCheck(torch.stack(tones[:_TONAL_COUNT]), self.working_rate) if tones else None

    def _scale(self, features: Tensor) -> Tensor | None:
        return None

    @abstractmethod
    def _features(self, waves: Tensor) -> Tensor:
        """(N, frames) at working_rate -> (N, d)."""

    def predict(self, sounds: Sequence[Tensor]) -> list[dict[str, str]]:
        """Predicted choices of each sound (C, frames), by name: {"family": "laser", "pitch": "low", ...}.

        The family is NONE where it should have tones and has noise in their place.
        """
        count = round(self.working_rate * self.seconds)
        longest = max(sound.shape[-1] for sound in sounds)
        mono = [functional.pad(s.detach().float().cpu().mean(0), (0, longest - s.shape[-1])) for s in sounds]
        waves = torch.cat(
            [dsp.resample(w, self.rate, self.working_rate)[:, :count] for w in torch.stack(mono).split(64)]
        )
        waves = functional.pad(waves, (0, count - waves.shape[-1]))
        scores = self.scores(self._features(waves))
        read: list[dict[str, str]] = [{} for _ in sounds]
        sizes = [len(options) for options in self.synthesizer.CHOICES.values()]
        for (name, options), part in zip(self.synthesizer.CHOICES.items(), scores.split(sizes, 1), strict=True):
            for row, choice in zip(read, part.argmax(1).tolist(), strict=True):
                row[name] = options[choice]
        if self.tones is not None:
            for row, found in zip(read, self.tones.has_tones(waves).tolist(), strict=True):
                if row["family"] in self.tonal and not found:
                    row["family"] = NONE
        return read


class SfxPredictor(SoundPredictor):
    """Predicts family, pitch, length, sweep, noise and echo of game sounds. rate, frames: see SoundPredictor."""

    synthesizer, name, width = synthesis, "sfx", 0.015
    tonal = frozenset(synthesis.FAMILIES) - {"explosion"}

    def _spectrum(self, waves: Tensor) -> Tensor:
        """Magnitudes (N, bins, T) of (N, frames), each shifted to begin at its onset, 26 dB below its maximum.

        The onset is found in blocks of 2 ms, so that its position between two frames has no effect.
        """
        block = max(1, self.hop // 4)
        loud = functional.avg_pool1d(waves.square(), block)
        start = (loud > 0.0025 * loud.amax(1, keepdim=True)).float().argmax(1) * block
        count = -(-waves.shape[-1] // self.hop) * self.hop
        places = start[:, None] + torch.arange(count)
        return dsp.stft(functional.pad(waves, (0, count)).gather(1, places), 4 * self.hop, self.hop).abs()

    def _features(self, waves: Tensor) -> Tensor:
        """(N, frames) at working_rate -> (N, d): the image, finer in time at the start, and the envelope."""
        power = torch.cat([self.filters @ self._spectrum(part).square() for part in waves.split(256)])

        def level(p: Tensor) -> Tensor:  # 0 at -40 dB and below, 1 at the loudest point
            return (
                1 + torch.log10(p / p.flatten(1).amax(1).reshape(-1, *[1] * (p.ndim - 1)).clamp(min=1e-20) + 1e-4) / 4
            )

        image, outline = level(power), level(power.sum(1))
        early = functional.avg_pool1d(image[..., :24], 2) * 0.8
        late = functional.avg_pool1d(image[..., 24:], 4, ceil_mode=True)
        return torch.cat([early.flatten(1), late.flatten(1), outline], 1)


class DrumHitPredictor(SfxPredictor):
    """Predicts family, pitch, length and tone of drum-like hits. rate, frames: see SoundPredictor."""

    synthesizer, name, count, tonal = drums, "drums", 1200, frozenset()


class TexturePredictor(SoundPredictor):
    """Predicts family, pace and tone of textures, from any part of them. rate, frames: see SoundPredictor."""

    synthesizer, name, width, longest, count = textures, "textures", 0.006, 2.0, 900

    def _features(self, waves: Tensor) -> Tensor:
        """(N, frames) at working_rate -> (N, d): statistics of the bands in dB, and modulation of the envelope."""
        hop = self.hop // 4 * 2
        waves = functional.pad(waves, (0, -waves.shape[-1] % hop))
        bands = [self.filters @ dsp.stft(part, 4 * self.hop, hop).abs() for part in waves.split(256)]
        level = (
            dsp.amplitude_to_db(torch.cat(bands) / torch.cat(bands).amax((1, 2), keepdim=True).clamp(min=1e-10), -60.0)
            / 10
        )
        fine = functional.avg_pool1d(waves.square(), max(1, round(self.working_rate * 0.002))).sqrt()
        fine = fine / fine.mean(1, keepdim=True).clamp(min=1e-10) - 1
        power = torch.fft.rfft(fine, dim=1).abs().square()
        hertz = torch.fft.rfftfreq(fine.shape[1], 0.002)
        edges = 0.4 * 2.0 ** (torch.arange(0, 20) / 2)
        modulation = [power[:, (hertz >= a) & (hertz < b)].sum(1) for a, b in pairwise(edges)]
        motion = torch.log10(torch.stack(modulation, 1) / fine.shape[1] ** 2 + 1e-7)
        crest = torch.log10(fine.amax(1, keepdim=True) + 1)
        change = level.diff(dim=2).abs().mean(2)
        return torch.cat([level.mean(2), level.std(2), change, motion, crest], 1)

    def _scale(self, features: Tensor) -> Tensor | None:
        return features.std(0).clamp(min=1e-3)


KINDS = {"sfx": SfxPredictor, "drums": DrumHitPredictor, "textures": TexturePredictor}


@lru_cache(maxsize=6)
def fitted_predictor(rate: float, frames: int, kind: str = "sfx") -> SoundPredictor:
    """The fitted checker for a rate in Hz, a length in samples and a kind of sounds (a key of KINDS), created once."""
    return KINDS[kind](rate, frames)


def predict_attributes(sounds: Sequence[Tensor], rate: float, kind: str = "sfx") -> list[dict[str, str]]:
    """Predicted attributes of each sound (C, frames), all of one rate, padded to the length of the longest."""
    if not sounds:
        return []
    return fitted_predictor(float(rate), max(s.shape[-1] for s in sounds), kind).predict(sounds)


def predict_families(sounds: Sequence[Tensor], rate: float, kind: str = "sfx") -> list[str]:
    """Predicted family of each sound (C, frames)."""
    return [row["family"] for row in predict_attributes(sounds, rate, kind)]


def predict_family(sound: Tensor, rate: float, kind: str = "sfx") -> str:
    """Predicted family of one sound (C, frames)."""
    return predict_families([sound], rate, kind)[0]
