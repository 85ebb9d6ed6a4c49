"""Drum-like hits made by code: an embedded dataset of one-shots, deterministic by seed, nothing to download."""

from __future__ import annotations

from ..synthetic import drums
from .base import OneShots


class SynthDrums(OneShots):
    """One-shots of five families (kick, snare, hat, clap, tom), made when asked for.

    Pitch, length and tone vary independently; they are in each item's attributes and its caption. The attribute `body`
    is the time in seconds within which a hit dies away, `seconds` until nothing is left. The label is the family.
    Training and validation draw from different keys, so they share no sound.

    Args:
        spec: The recipe's facts about the sound.
        split: Which part: train or valid.
        valid: Share of the sounds for validation, 0 to 1.
        seed: Number that all sounds follow from.
        count: Sounds in both parts together; they are made anew each time, so a large number costs nothing.
        padding: `silence`: what follows a hit counts as part of it, so that a model learns where it ends; `masked`:
            items state their length and the rest is left out of statistics and loss, which wants a condition on
            `seconds`.
    """

    registered = "audio/synth_drums"
    synthesizer = drums
    classes = drums.FAMILIES
    lowest_rate = 8000.0
