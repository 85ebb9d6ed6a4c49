"""Drum-like hits made by code: an embedded dataset of one-shots, deterministic by seed, nothing to download."""

from __future__ import annotations

from typing import Any, Literal

from ....core.types import Item, MediaSpec
from ..synthetic.drums import FAMILIES, Hit, draw, render
from .base import Made


class SynthDrums(Made):
    """One-shots of five families (kick, snare, hat, clap, tom), made when asked for.

    Pitch, length and tone vary independently; they are in each item's attributes and its caption. The attribute `body`
    is the time in seconds within which a hit dies away, `seconds` until nothing is left. The label is the family.
    Training and validation draw from different keys, so they share no sound.

    spec: the recipe's facts about the sound
    split: which part: train or valid
    valid: share of the sounds for validation, 0 to 1
    seed: number that all sounds follow from
    count: sounds in both parts together; they are made anew each time, so a large number costs nothing
    padding: `silence`: what follows a hit counts as part of it, so that a model learns where it ends; `masked`: items
        state their length and the rest is left out of statistics and loss, which wants a condition on `seconds`
    """

    classes = FAMILIES

    def __init__(
        self,
        spec: MediaSpec,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
        count: int = 20000,
        padding: Literal["silence", "masked"] = "silence",
    ):
        super().__init__("audio/synth_drums", FAMILIES, spec, split, valid, seed, count, lowest=8000.0)
        self.padding = padding

    def hit(self, index: int) -> Hit:
        """What sound `index` is; families take turns."""
        return draw(self._key(index, "choices"), self.family(index))

    def item(self, index: int, rng: Any = None) -> Item:
        """Sound `index`; `rng` turns its polarity, which cannot be heard."""
        hit = self.hit(index)
        wave = render(hit, self.rate, self.frames / self.rate, self._key(index, "noise"))
        if rng is not None and rng.random() < 0.5:
            wave = -wave
        return self.told(index, hit, wave, self.padding == "masked")
