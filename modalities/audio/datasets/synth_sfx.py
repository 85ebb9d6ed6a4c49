"""Sound effects made by code: an embedded dataset, deterministic by seed, endless, nothing to download."""

from __future__ import annotations

from ..synthetic import synthesis
from .base import OneShots


class SynthSfx(OneShots):
    """Game sounds of seven families (coin, laser, explosion, power-up, hit, jump, blip), made when asked for.

    Pitch, length, sweep, noise and echo vary independently; they are in each item's attributes and its caption. The
    attribute `body` is a sound's length in seconds without its echo, `seconds` with it. The label is the family.
    Training and validation draw from different keys, so they share no sound.

    Args:
        spec: The recipe's facts about the sound.
        split: Which part: train or valid.
        valid: Share of the sounds for validation, 0 to 1.
        seed: Number that all sounds follow from.
        count: Sounds in both parts together; they are made anew each time, so a large number costs nothing.
        padding: `silence`: what follows a short sound counts as part of it, so that a model learns where sounds end;
            `masked`: items state their length and the rest is left out of statistics and loss.
    """

    registered = "audio/synth_sfx"
    synthesizer = synthesis
    classes = synthesis.FAMILIES
