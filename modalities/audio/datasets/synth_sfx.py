"""Sound effects made by code: an embedded dataset, deterministic by seed, endless, nothing to download."""

from __future__ import annotations

from typing import Any, Literal

from ....core.types import Item, MediaSpec
from ..synthetic.synthesis import FAMILIES, Effect, draw, render
from .base import Made


class SynthSfx(Made):
    """Game sounds of seven families (coin, laser, explosion, power-up, hit, jump, blip), made when asked for.

    Pitch, length, sweep, noise and echo vary independently; they are in each item's attributes and its caption. The
    attribute `body` is a sound's length in seconds without its echo, `seconds` with it. The label is the family.
    Training and validation draw from different keys, so they share no sound.

    spec: the recipe's facts about the sound
    split: which part: train or valid
    valid: share of the sounds for validation, 0 to 1
    seed: number that all sounds follow from
    count: sounds in both parts together; they are made anew each time, so a large number costs nothing
    padding: `silence`: what follows a short sound counts as part of it, so that a model learns where sounds end;
        `masked`: items state their length and the rest is left out of statistics and loss
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
        super().__init__("audio/synth_sfx", FAMILIES, spec, split, valid, seed, count)
        self.padding = padding

    def effect(self, index: int) -> Effect:
        """What sound `index` is; families take turns."""
        return draw(self._key(index, "choices"), self.family(index))

    def item(self, index: int, rng: Any = None) -> Item:
        """Sound `index`; `rng` turns its polarity, which cannot be heard."""
        effect = self.effect(index)
        wave = render(effect, self.rate, self.frames / self.rate, self._key(index, "noise"))
        if rng is not None and rng.random() < 0.5:
            wave = -wave
        return self.told(index, effect, wave, self.padding == "masked")
