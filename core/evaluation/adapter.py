"""What `sonolux eval` passes from hand to hand: examples, figures, what a modality brings, what is shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .classifier import Settings

ENOUGH = 100
"""Held-out examples from which on they alone stand for the real data."""


@dataclass
class ExampleSet:
    """Examples of one kind, all of one size.

    media:   (C, *spatial) each; read when it is asked for
    labels:  (N,) indices of classes; -1: not told
    sources: where each came from
    lengths: elements along the last axis that are the example's own, the rest is padding; None: all of them
    """

    media: Sequence[Tensor]
    labels: Tensor
    sources: list[str]
    lengths: list[int | None] | None = None

    def __len__(self) -> int:
        return len(self.media)

    def pick(self, rows: Sequence[int] | np.ndarray) -> ExampleSet:
        """The examples at these places."""
        rows = [int(i) for i in rows]
        lengths = None if self.lengths is None else [self.lengths[i] for i in rows]
        return ExampleSet(Picked(self.media, rows), self.labels[rows], [self.sources[i] for i in rows], lengths)

    def own(self) -> list[Tensor]:
        """The examples without their padding, each as long as it is."""
        lengths = self.lengths or [None] * len(self)
        return [media[..., :length] for media, length in zip(self.media, lengths, strict=True)]


class Picked(Sequence[Any]):
    """Some items of a sequence, read when they are asked for."""

    def __init__(self, items: Sequence[Tensor], rows: list[int]):
        self.items, self.rows = items, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.items[i] for i in self.rows[index]]
        return self.items[self.rows[index]]


@dataclass
class Made:
    """Generated examples.

    side:   those that can be used, as the recipe's dataset reads files: levelled, cropped, resized
    raw:    the same, as their files hold them
    paths:  their files
    counts: "made": how many there were; "not finite": held NaN or infinity; "unusable": could not be read back;
            "scaled": were too loud for a file
    facts:  how they were made
    """

    side: ExampleSet
    raw: list[Tensor]
    paths: list[Path]
    counts: dict[str, int]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Real:
    """The data of the recipe: what was trained on, what was held out (None: nothing was), and the classes' names."""

    train: ExampleSet
    held: ExampleSet | None
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Coded:
    """Real examples as they are, and the same after the codec. held: they are held-out ones."""

    known: ExampleSet
    coded: ExampleSet
    held: bool


@dataclass(frozen=True)
class Beside:
    """What a figure stands beside: a floor or ceiling that real data reaches, with the range of its draws."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    key:      its name in metrics.json
    form:     how value, interval and beside are shown
    interval: 95 % interval of the value
    means:    one line that says what it tells
    """

    key: str
    name: str
    value: float
    form: str = "{:.3g}"
    interval: tuple[float, float] | None = None
    beside: tuple[Beside, ...] = ()
    means: str = ""


class Alike(NamedTuple):
    """For each example how alike it and the nearest training example are (1: the same), and that one's place."""

    value: Tensor
    place: Tensor


@dataclass(frozen=True)
class Defect:
    """One kind of defect, measured on every example.

    values: (N,) of the samples; real: (M,) of real examples
    flags:  (N,) which samples have the defect; real_flags: (M,)
    form:   how a value is shown; "": the counts alone matter
    """

    key: str
    name: str
    means: str
    values: Tensor
    flags: Tensor
    real: Tensor
    real_flags: Tensor
    form: str = ""


class Shown(NamedTuple):
    """One file of an exhibit: its MIME type ("image/png", "audio/wav") and its bytes."""

    mime: str
    data: bytes


class EvaluationAdapter(Protocol):
    """What a modality brings to `eval`: `Modality.judge()`.

    nouns:    what one example is called, and several
    feature:  the name of its own feature component
    suffixes: of files that it reads, in lower case, with the dot
    limit:    likeness from which on an example counts as a copy where too few held-out ones can tell
    settings: of its small network
    """

    nouns: tuple[str, str]
    feature: str
    suffixes: Collection[str]
    limit: float
    settings: Settings

    def pictures(self, media: Sequence[Tensor]) -> Tensor:
        """What a small network looks at: (N, C, H, W) in about [-1, 1]."""
        ...

    def vary(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Such pictures as training varies them."""
        ...

    def alike(self, media: Sequence[Tensor], training: Sequence[Tensor]) -> Alike:
        """The nearest training example of each, whatever its gain, its place or how it was cut."""
        ...

    def planted(self, media: Sequence[Tensor], seed: int) -> dict[str, list[Tensor]]:
        """Copies made on purpose, by what was done to them: gain, shift, crop."""
        ...

    def defects(self, media: Sequence[Tensor], real: Sequence[Tensor], loop: bool) -> list[Defect]:
        """Defects of samples as their files hold them, beside those of real examples."""
        ...

    def exhibit(self, media: Tensor) -> list[Shown]:
        """What a page shows of one example."""
        ...


@dataclass(frozen=True)
class Exhibit:
    """One example on the page: its files, what stands below it, and whether that is a warning."""

    shown: list[Shown]
    caption: str
    warn: bool = False


@dataclass
class EvaluationReport:
    """Everything that was found.

    title, facts: what was measured and how
    figures:      heading -> lines of the table
    remarks:      what a reader must know before believing them
    exhibits:     heading -> (what it shows, examples)
    classes:      per class: name, how many, share recognised, what the others were taken for
    confusion:    (K, K) counts: row the class told, column the class recognised; None: no classes
    likeness:     "samples", "held out" -> likeness of each to the training data; "limit" -> [the limit]
    rows:         a record a sample
    """

    title: str
    facts: dict[str, Any]
    figures: dict[str, list[Figure]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    exhibits: dict[str, tuple[str, list[Exhibit]]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    confusion: Tensor | None = None
    likeness: dict[str, list[float]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
