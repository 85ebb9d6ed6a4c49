"""Base classes of the synthetic datasets: sounds generated on access, each a function of (seed, split, index)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ....core.data.captions import draw_caption
from ....core.data.splits import split_range
from ....core.types import BadInput, Item, MediaSpec
from ....core.util.rng import keyed_generator
from .. import dsp


class SoundDescription(Protocol):
    """Description of a synthetic sound: an Effect, a Hit or a Texture."""

    @property
    def family(self) -> str:
        """The class of the sound."""
        ...

    @property
    def captions(self) -> list[str]:
        """Texts that describe the sound, in several wordings."""
        ...

    def attributes(self) -> dict[str, Any]:
        """Choices as names, parameters as numbers."""
        ...


class SyntheticSounds:
    """Synthetic sounds. Training and validation use different random keys, so they share no sound.

    Args:
        name: Name of the dataset.
        families: Families of sounds, in turn by index; they are the classes.
        spec: Media specification of the sounds.
        split: Which part: train or valid.
        valid: Share of the sounds for validation, 0 to 1.
        seed: Seed of all sounds.
        count: Number of sounds in both parts together.
        lowest: Lowest rate in Hz at which the families can be distinguished.
        shortest: Minimum length of a sound in seconds.
    """

    def __init__(
        self,
        name: str,
        families: tuple[str, ...],
        spec: MediaSpec,
        split: str,
        valid: float,
        seed: int,
        count: int,
        lowest: float = 4000.0,
        shortest: float = 0.25,
    ):
        if spec.rate is None or len(spec.size) != 1:
            raise BadInput(f"{name} generates sounds: it needs `modality: {{use: audio}}`")
        if spec.rate < lowest or spec.size[0] < shortest * spec.rate:
            raise BadInput(
                f"{name} needs a rate of {lowest:g} Hz or more and at least {shortest:g} s; "
                f"got {spec.rate:g} Hz and {spec.size[0] / spec.rate:g} s"
            )
        self.count = len(split_range(count, valid, split, "sounds"))
        self.name, self.classes, self.spec, self.split, self.seed = name, families, spec, split, seed
        self.rate, self.frames = float(spec.rate), spec.size[0]

    def __len__(self) -> int:
        return self.count

    def family(self, index: int) -> str:
        """The family of sound `index`.

        Raises:
            IndexError: For an index out of range.
        """
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.classes[index % len(self.classes)]

    def _key(self, index: int, purpose: str) -> np.random.Generator:
        return keyed_generator(self.seed, index, f"{self.name} {self.split} {purpose}")

    def make_item(
        self, index: int, sound: SoundDescription, wave: np.ndarray | Tensor, masked: bool, rng: Any = None
    ) -> Item:
        """The item of one sound; its attribute `seconds` is the length up to the last audible sample.

        Args:
            index: Index of the sound.
            sound: Description of the sound.
            wave: Samples (frames,), which every channel has, or (C, frames).
            masked: Whether the item has a length, so that the rest is excluded from statistics and loss.
            rng: Chooses one of the captions, after all other draws from it; None: the first.
        """
        media = torch.as_tensor(wave).expand(self.spec.channels, -1).contiguous()
        length = max(1, dsp.audible_bounds(media)[1])
        attributes = sound.attributes()
        if "seconds" in attributes:
            attributes["body"] = attributes["seconds"]
        return Item(
            media=media,
            length=length if masked else None,
            label=self.classes.index(sound.family),
            caption=draw_caption(sound.captions, rng),
            attributes={**attributes, "seconds": length / self.rate},
            source=f"{self.name.rpartition('/')[2]} {self.split} {index} of seed {self.seed}",
        )

    def manifest(self) -> list[dict[str, Any]]:
        """One record that determines every sound."""
        return [
            {
                "made": self.name,
                "split": self.split,
                "count": self.count,
                "seed": self.seed,
                "signal": {k: v for k, v in asdict(self.spec).items() if k in ("channels", "size", "rate")},
            }
        ]


class SynthesisModule(Protocol):
    """A module of `synthetic/` that generates sounds of several families: drums, effects or textures."""

    @property
    def FAMILIES(self) -> tuple[str, ...]:
        """Names of the families."""
        ...

    def draw_description(self, rng: np.random.Generator, family: str) -> Any:
        """Draw the description of a sound of a family."""
        ...

    def render_sound(self, sound: Any, /, rate: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
        """The waveform (frames,) of a described sound."""
        ...


class OneShots(SyntheticSounds):
    """Short sounds, one per item; a subclass names the module that generates them.

    Args:
        spec: Media specification of the sounds.
        split: Which part: train or valid.
        valid: Share of the sounds for validation, 0 to 1.
        seed: Seed of all sounds.
        count: Number of sounds in both parts together.
        padding: `silence`: the padding is part of a sound; `masked`: items have a length, and the rest is excluded from
            statistics and loss.
    """

    registered: ClassVar[str]  # name of the dataset
    synthesizer: ClassVar[SynthesisModule]
    lowest_rate: ClassVar[float] = 4000.0  # Hz

    def __init__(
        self,
        spec: MediaSpec,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
        count: int = 20000,
        padding: Literal["silence", "masked"] = "silence",
    ):
        families = self.synthesizer.FAMILIES
        super().__init__(self.registered, families, spec, split, valid, seed, count, lowest=self.lowest_rate)
        self.padding = padding

    def choices(self, index: int) -> Any:
        """The description of sound `index`, an Effect or a Hit; families alternate by index."""
        return self.synthesizer.draw_description(self._key(index, "choices"), self.family(index))

    def item(self, index: int, rng: Any = None) -> Item:
        """Sound `index`; `rng` inverts its polarity at random, which is inaudible, and chooses the caption."""
        sound = self.choices(index)
        wave = self.synthesizer.render_sound(sound, self.rate, self.frames / self.rate, self._key(index, "noise"))
        if rng is not None and rng.random() < 0.5:
            wave = -wave
        return self.make_item(index, sound, wave, self.padding == "masked", rng)
