"""Sound effects made by code: an embedded dataset, deterministic by seed, endless, nothing to download."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch

from ....core.noise import generator
from ....core.types import BadInput, Item, Signal
from .. import dsp
from ..synthesis import FAMILIES, Effect, draw, render


class SynthSfx:
    """Game sounds of seven families (coin, laser, explosion, power-up, hit, jump, blip), made when asked for.

    Pitch, length, sweep, noise and echo vary independently; they are in each item's attributes and its caption. The
    label is the family. Training and validation draw from different keys, so they share no sound.

    signal: the recipe's facts about the sound
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
        signal: Signal,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
        count: int = 20000,
        padding: Literal["silence", "masked"] = "silence",
    ):
        if signal.rate is None or len(signal.size) != 1:
            raise BadInput("audio/synth_sfx makes sounds: it needs `modality: {use: audio}`")
        if signal.rate < 4000 or signal.size[0] < 0.25 * signal.rate:
            raise BadInput(
                f"audio/synth_sfx needs a rate of 4000 Hz or more and at least 0.25 s; "
                f"got {signal.rate:g} Hz and {signal.size[0] / signal.rate:g} s"
            )
        if count < 2:
            raise BadInput(f"data.count is a number of sounds, 2 or more; got {count}")
        if not 0 <= valid < 1:
            raise BadInput(f"data.split.valid is a share from 0 up to, not including, 1; got {valid}")
        if split not in ("train", "valid"):
            raise BadInput(f"split is train or valid; got {split!r}")
        self.signal, self.split, self.seed, self.padding = signal, split, seed, padding
        held_out = min(count - 1, max(1, round(count * valid))) if valid else 0
        self.count = count - held_out if split == "train" else held_out

    def __len__(self) -> int:
        return self.count

    def effect(self, index: int) -> Effect:
        """What sound `index` is; families take turns."""
        return draw(self._key(index, "choices"), FAMILIES[index % len(FAMILIES)])

    def _key(self, index: int, what: str) -> np.random.Generator:
        return generator(self.seed, index, f"audio/synth_sfx {self.split} {what}")

    def item(self, index: int, rng: Any = None) -> Item:
        """Sound `index`; `rng` turns its polarity, which cannot be heard."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        effect, rate = self.effect(index), float(self.signal.rate or 0)
        wave = render(effect, rate, self.signal.size[0] / rate, self._key(index, "noise"))
        if rng is not None and rng.random() < 0.5:
            wave = -wave
        media = torch.from_numpy(wave)[None].expand(self.signal.channels, -1).contiguous()
        return Item(
            media=media,
            length=dsp.bounds(media)[1] if self.padding == "masked" else None,
            label=FAMILIES.index(effect.family),
            caption=effect.caption,
            attributes=effect.attributes(),
            source=f"synth_sfx {self.split} {index} of seed {self.seed}",
        )

    def manifest(self) -> list[dict[str, Any]]:
        """One record that every sound follows from."""
        return [
            {
                "made": "audio/synth_sfx",
                "split": self.split,
                "count": self.count,
                "seed": self.seed,
                "signal": {k: v for k, v in asdict(self.signal).items() if k in ("channels", "size", "rate")},
            }
        ]
