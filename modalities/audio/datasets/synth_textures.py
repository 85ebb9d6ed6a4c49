"""Textures made by code: an embedded dataset of sounds that go on, deterministic by seed, nothing to download."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ....core.types import BadInput, Item, MediaSpec
from ..synthetic.textures import FAMILIES, Texture, draw, render
from .base import Made

_ROOM = 256_000_000  # bytes of recordings that are kept


class SynthTextures(Made):
    """Engine, wind and rain: recordings without beginning or end, of which training sees parts drawn at random.

    Pace and tone vary independently; they are in each item's attributes and its caption. The label is the family.
    Training and validation draw from different keys, so they share no recording.

    Args:
        spec: The recipe's facts about the sound; its length is that of the parts.
        recording: Seconds that each recording lasts; null: twice as long as a part.
        split: Which part: train or valid.
        valid: Share of the recordings for validation, 0 to 1.
        seed: Number that all recordings follow from.
        count: Recordings in both parts together; as many as fit into 256 MB are kept, others are made anew each time.
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
        self._kept: dict[int, np.ndarray] = {}

    def texture(self, index: int) -> Texture:
        """What recording `index` is; families take turns."""
        return draw(self._key(index, "choices"), self.family(index))

    def _recorded(self, index: int, texture: Texture) -> np.ndarray:
        kept = self._kept.get(index)
        if kept is None:
            kept = render(texture, self.rate, self.recording, self._key(index, "noise"))
            if (len(self._kept) + 1) * kept.nbytes <= _ROOM:
                self._kept[index] = kept
        return kept

    def item(self, index: int, rng: Any = None) -> Item:
        """A part of recording `index`; `rng` decides where it starts and turns its polarity; None: its beginning."""
        texture = self.texture(index)
        wave = self._recorded(index, texture)
        start, sign = 0, 1.0
        if rng is not None:
            along, flip = rng.random(2)
            start, sign = int(along * (len(wave) - self.frames + 1)), -1.0 if flip < 0.5 else 1.0
        return self.told(index, texture, sign * wave[start : start + self.frames], masked=False)
