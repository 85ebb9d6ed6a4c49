"""Synthetic textures: a built-in dataset of continuous sounds, deterministic by seed, without download."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ....core.types import BadInput, Item, MediaSpec
from ..synthetic.textures import FAMILIES, SoundTexture, draw_description, render_sound
from .base import SyntheticSounds

_CACHE_SIZE = 256_000_000  # bytes of recordings in memory


class SynthTextures(SyntheticSounds):
    """Engine, wind and rain: recordings without beginning or end, from which training uses random parts.

    Pace and tone vary independently; they are stored in the attributes and the caption of each item. The label is the
    family. Training and validation use different random keys, so they share no recording.

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

    def _recorded(self, index: int, texture: SoundTexture) -> np.ndarray:
        wave = self._cached.get(index)
        if wave is None:
            wave = render_sound(texture, self.rate, self.recording, self._key(index, "noise"))
            if (len(self._cached) + 1) * wave.nbytes <= _CACHE_SIZE:
                self._cached[index] = wave
        return wave

    def item(self, index: int, rng: Any = None) -> Item:
        """A part of recording `index`; `rng` chooses its start and polarity; None: the beginning."""
        texture = self.texture(index)
        wave = self._recorded(index, texture)
        start, sign = 0, 1.0
        if rng is not None:
            along, flip = rng.random(2)
            start, sign = int(along * (len(wave) - self.frames + 1)), -1.0 if flip < 0.5 else 1.0
        return self.make_item(index, texture, sign * wave[start : start + self.frames], masked=False, rng=rng)
