"""What the embedded datasets share: sounds made when they are asked for, each a function of (seed, part, index)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ....core.data.splits import part_of
from ....core.types import BadInput, Item, MediaSpec
from ....core.util.rng import generator
from .. import dsp


class Told(Protocol):
    """What a made sound is: an Effect, a Hit or a Texture."""

    @property
    def family(self) -> str:
        """Its class."""
        ...

    @property
    def caption(self) -> str:
        """In words."""
        ...

    def attributes(self) -> dict[str, Any]:
        """As names and numbers."""
        ...


class Made:
    """Sounds made by code. Training and validation draw from different keys, so they share no sound.

    Args:
        name: Of the dataset.
        families: Take turns, and are the classes.
        split: As the datasets have them.
        valid: As the datasets have them.
        seed: As the datasets have them.
        count: As the datasets have them.
        lowest: Hz, the lowest rate at which the families can be told apart.
        shortest: Seconds of the shortest sound that holds one.

    Attributes:
        signal: As the datasets have them.
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
            raise BadInput(f"{name} makes sounds: it needs `modality: {{use: audio}}`")
        if spec.rate < lowest or spec.size[0] < shortest * spec.rate:
            raise BadInput(
                f"{name} needs a rate of {lowest:g} Hz or more and at least {shortest:g} s; "
                f"got {spec.rate:g} Hz and {spec.size[0] / spec.rate:g} s"
            )
        self.count = len(part_of(count, valid, split, "sounds"))
        self.name, self.classes, self.spec, self.split, self.seed = name, families, spec, split, seed
        self.rate, self.frames = float(spec.rate), spec.size[0]

    def __len__(self) -> int:
        return self.count

    def family(self, index: int) -> str:
        """The family of sound `index`.

        Raises:
            IndexError: Beyond the last.
        """
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.classes[index % len(self.classes)]

    def _key(self, index: int, what: str) -> np.random.Generator:
        return generator(self.seed, index, f"{self.name} {self.split} {what}")

    def told(self, index: int, what: Told, wave: np.ndarray | Tensor, masked: bool) -> Item:
        """The item of one sound (frames,): its attribute `seconds` is what the sound lasts, whatever lies behind it.

        Args:
            masked: It states its length, and the rest is left out of statistics and loss.
        """
        media = torch.as_tensor(wave)[None].expand(self.spec.channels, -1).contiguous()
        length = max(1, dsp.bounds(media)[1])
        attributes = what.attributes()
        if "seconds" in attributes:
            attributes["body"] = attributes["seconds"]
        return Item(
            media=media,
            length=length if masked else None,
            label=self.classes.index(what.family),
            caption=what.caption,
            attributes={**attributes, "seconds": length / self.rate},
            source=f"{self.name.rpartition('/')[2]} {self.split} {index} of seed {self.seed}",
        )

    def manifest(self) -> list[dict[str, Any]]:
        """One record that every sound follows from."""
        return [
            {
                "made": self.name,
                "split": self.split,
                "count": self.count,
                "seed": self.seed,
                "signal": {k: v for k, v in asdict(self.spec).items() if k in ("channels", "size", "rate")},
            }
        ]


class Synthesizer(Protocol):
    """A module that makes sounds of several families: drums or synthesis."""

    FAMILIES: tuple[str, ...]

    def draw(self, rng: np.random.Generator, family: str) -> Any:
        """Choose a sound of a family."""
        ...

    def render(self, what: Any, rate: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
        """The wave of a chosen sound, (frames,)."""
        ...


class OneShots(Made):
    """Short sounds, an item each; a subclass names the module that makes them.

    Args:
        split: As the datasets have them.
        valid: As the datasets have them.
        seed: As the datasets have them.
        count: As the datasets have them.
        padding: `silence`: what follows a sound counts as part of it; `masked`: items state their length.

    Attributes:
        signal: As the datasets have them.
    """

    registered: ClassVar[str]  # name of the dataset
    synthesizer: ClassVar[Synthesizer]
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
        """What sound `index` is: an Effect or a Hit; families take turns."""
        return self.synthesizer.draw(self._key(index, "choices"), self.family(index))

    def item(self, index: int, rng: Any = None) -> Item:
        """Sound `index`; `rng` turns its polarity, which cannot be heard."""
        what = self.choices(index)
        wave = self.synthesizer.render(what, self.rate, self.frames / self.rate, self._key(index, "noise"))
        if rng is not None and rng.random() < 0.5:
            wave = -wave
        return self.told(index, what, wave, self.padding == "masked")
