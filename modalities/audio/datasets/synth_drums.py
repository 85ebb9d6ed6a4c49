"""Synthetic drum-like hits: a built-in dataset of one-shots, deterministic by seed, without download."""

from __future__ import annotations

from ..synthetic import drums
from .base import OneShots


class SynthDrums(OneShots):
    """One-shots of five families (kick, snare, hat, clap, tom), generated on access.

    Pitch, length and tone vary independently; they are stored in the attributes and the caption of each item. The
    attribute `body` is the decay time of a hit in seconds, `seconds` its total length. The label is the family.
    Training and validation use different random keys, so they share no sound.

    Args:
        spec: Media specification of the sounds.
        split: Which part: train or valid.
        valid: Share of the sounds for validation, 0 to 1.
        seed: Seed of all sounds.
        count: Number of sounds in both parts together; they are generated on each access, so a large number needs no
            memory.
        padding: `silence`: padding is part of a hit, so that a model learns where it ends; `masked`: items have a
            length, and the rest is excluded from statistics and loss; a condition on `seconds` is recommended.
    """

    registered = "audio/synth_drums"
    synthesizer = drums
    classes = drums.FAMILIES
    lowest_rate = 8000.0
