"""Synthetic textures: a built-in dataset of continuous sounds, deterministic by seed, without download."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ....core.types import BadInput, Item, MediaSpec
from ..synthetic.stereo_image import StereoTexture, draw_stereo_image, render_stereo
from ..synthetic.textures import FAMILIES, SoundTexture, draw_description, render_sound
from .base import SyntheticSounds

_CACHE_SIZE = 256_000_000  # bytes of recordings in memory
_MAX_PEAK = 0.95  # of a stereo recording


class SynthTextures(SyntheticSounds):
    """Engine, wind and rain: recordings without beginning or end, from which training uses random parts.

    Pace and tone vary independently; they are stored in the attributes and the caption of each item. The label is the
    family. Training and validation use different random keys, so they share no recording.

    With `modality.channels: 2` each recording is stereo, with a level difference of the channels from -12 to 12 dB and
    a correlation from 0.1 to 1, both known exactly: the attributes `level_difference` and `correlation`.

    Args:
        spec: Media specification; its length is that of the parts.
        recording: Length of each recording in seconds; null: twice the length of a part.
        split: Which part: train or valid.
        valid: Share of the recordings for validation, 0 to 1.
        seed: Seed of all recordings.
        count: Number of recordings in both parts together; up to 256 MB are cached, others are generated on each
            access.
    """

    classes = FAMILIES

    def __init__(
        self,
        spec: MediaSpec,
        recording: float | None = None,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
        count: int = 1200,
    ):
        super().__init__("audio/synth_textures", FAMILIES, spec, split, valid, seed, count, shortest=0.5)
        self.recording = 2 * self.frames / self.rate if recording is None else recording
        if not self.frames / self.rate <= self.recording <= 600:
            raise BadInput(
                f"data.recording lies between the part's length, {self.frames / self.rate:g} s, and 600 s; "
                f"got {recording}"
            )
        self._cached: dict[int, np.ndarray] = {}

    def texture(self, index: int) -> SoundTexture:
        """The description of recording `index`; families alternate by index."""
        return draw_description(self._key(index, "choices"), self.family(index))

    def description(self, index: int) -> SoundTexture | StereoTexture:
        """The description of recording `index`, with its stereo image where there are two channels."""
        texture = self.texture(index)
        if self.spec.channels != 2:
            return texture
        return StereoTexture(texture, draw_stereo_image(self._key(index, "stereo image")))

    def _recorded(self, index: int, sound: SoundTexture | StereoTexture) -> np.ndarray:
        wave = self._cached.get(index)
        if wave is None:
            wave = self._rendered(index, sound)
            if (len(self._cached) + 1) * wave.nbytes <= _CACHE_SIZE:
                self._cached[index] = wave
        return wave

    def _rendered(self, index: int, sound: SoundTexture | StereoTexture) -> np.ndarray:
        """(frames,), or (2, frames) of a stereo recording."""
        texture = sound.texture if isinstance(sound, StereoTexture) else sound
        wave = render_sound(texture, self.rate, self.recording, self._key(index, "noise"))
        if not isinstance(sound, StereoTexture):
            return wave
        other = render_sound(texture, self.rate, self.recording, self._key(index, "second noise"))
        pair = render_stereo(wave, other, sound.image)
        return pair * np.float32(min(1.0, _MAX_PEAK / np.abs(pair).max()))

    def item(self, index: int, rng: Any = None) -> Item:
        """A part of recording `index`; `rng` chooses its start and polarity; None: the beginning."""
        sound = self.description(index)
        wave = self._recorded(index, sound)
        start, sign = 0, 1.0
        if rng is not None:
            along, flip = rng.random(2)
            start, sign = int(along * (wave.shape[-1] - self.frames + 1)), -1.0 if flip < 0.5 else 1.0
        part = sign * wave[..., start : start + self.frames]
        return self.make_item(index, sound, part, masked=False, rng=rng)
