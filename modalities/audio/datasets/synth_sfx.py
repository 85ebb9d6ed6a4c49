"""Synthetic sound effects: a built-in dataset, deterministic by seed, of any size, without download."""

from __future__ import annotations

from ..synthetic import effects as synthesis
from .base import OneShots


class SynthSfx(OneShots):
    """Game sounds of seven families (coin, laser, explosion, power-up, hit, jump, blip), generated on access.

    Pitch, length, sweep, noise and echo vary independently; they are stored in the attributes of each item and stated
    by its captions, in several wordings, of which training draws one each time. The attribute `body` is a sound's
    length in seconds without its echo, `seconds` with it. The label is the family. Training and validation use
    different random keys, so they share no sound.

    Args:
        spec: Media specification of the sounds.
        split: Which part: train or valid.
        valid: Share of the sounds for validation, 0 to 1.
        seed: Seed of all sounds.
        count: Number of sounds in both parts together; they are generated on each access, so a large number needs no
            memory.
        padding: `silence`: padding is part of a sound, so that a model learns where sounds end; `masked`: items have a
            length, and the rest is excluded from statistics and loss.
    """

    registered = "audio/synth_sfx"
    synthesizer = synthesis
    classes = synthesis.FAMILIES
