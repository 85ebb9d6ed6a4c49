"""Sets of examples that an evaluation compares, and the real data of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..conditioning.text import text_of_item
from ..config.recipe import Recipe
from ..training.build import EmptySplit, build_dataset
from ..training.checkpoint import read_header
from ..types import BadInput, Dataset, Item

ENOUGH = 100
"""Minimum number of held-out examples to represent the real data without training examples."""


@dataclass
class ExampleSet:
    """Examples of one size, padded where they are shorter.

    Attributes:
        media: (C, *spatial) each, read on access.
        labels: (N,) class indices; -1: no class.
        sources: Origin of each example, such as its file.
        lengths: Length of each example along the last axis without padding; None: no padding.
        items: The examples of a dataset without their media, for captions and attributes; None: not of a dataset.
    """

    media: Sequence[Tensor]
    labels: Tensor
    sources: list[str]
    lengths: list[int | None] | None = None
    items: list[Item] | None = None

    def __len__(self) -> int:
        return len(self.media)

    def select(self, rows: Sequence[int] | np.ndarray) -> ExampleSet:
        """The examples at these indices."""
        rows = [int(i) for i in rows]
        lengths = None if self.lengths is None else [self.lengths[i] for i in rows]
        items = None if self.items is None else [self.items[i] for i in rows]
        sources = [self.sources[i] for i in rows]
        return ExampleSet(LazySubset(self.media, rows), self.labels[rows], sources, lengths, items)

    def texts(self, key: str) -> list[str | None]:
        """The text of each example under a key, such as its caption; None: it has none."""
        return [None if item is None else text_of_item(item, key) for item in self.items or [None] * len(self)]

    def unpadded(self) -> list[Tensor]:
        """The examples without their padding."""
        lengths = self.lengths or [None] * len(self)
        return [media[..., :length] for media, length in zip(self.media, lengths, strict=True)]

    @property
    def labelled(self) -> bool:
        """Whether every example has a class."""
        return int(self.labels.min()) >= 0


class LazySubset(Sequence[Any]):
    """Some items of a sequence, read on access."""

    def __init__(self, items: Sequence[Tensor], rows: list[int]):
        self.items, self.rows = items, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.items[i] for i in self.rows[index]]
        return self.items[self.rows[index]]


class DatasetMedia(Sequence[Any]):
    """The media of a dataset without augmentation, read on access."""

    def __init__(self, data: Dataset):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.data.item(i, None).media for i in range(*index.indices(len(self.data)))]
        return self.data.item(index, None).media


@dataclass
class GeneratedSet:
    """Generated examples.

    Attributes:
        examples: Usable examples, as the recipe's dataset reads files: levelled, cropped, resized.
        raw: The same examples as stored in their files.
        paths: Their files.
        counts: Numbers of samples: "made": all; "not finite": with NaN or infinity; "unusable": could not be read back;
            "scaled": too loud for a file.
        settings: Settings of the sampling.
        prompts: Prompt of each usable sample; None: it has none.
        lost_prompts: Prompts of the samples that are not finite or unusable.
        places: Index of each usable sample among all that were written.
    """

    examples: ExampleSet
    raw: list[Tensor]
    paths: list[Path]
    counts: dict[str, int]
    settings: dict[str, Any] = field(default_factory=dict)
    prompts: list[str | None] = field(default_factory=list)
    lost_prompts: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


@dataclass
class RealData:
    """The real data of a recipe.

    Attributes:
        train: Training examples.
        held_out: Held-out examples; None: there are none.
        classes: Names of the classes.
        training_captions: Every caption of the training part, also of examples that are not compared, and all of those
            that have several.
    """

    train: ExampleSet
    held_out: ExampleSet | None
    classes: tuple[str, ...]
    training_captions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class CodecRoundTrip:
    """Real examples before and after encoding and decoding.

    Attributes:
        original: Examples of the dataset.
        decoded: The same examples after the codec, in the same order.
        held_out: Whether they are held-out examples.
    """

    original: ExampleSet
    decoded: ExampleSet
    held_out: bool


def examples_from_dataset(data: Dataset, most: int | None = None) -> ExampleSet:
    """The examples of a dataset, at most `most` of them, evenly spaced.

    Each is read once here for its label; datasets cache what they read within their memory limits.
    """
    rows = list(range(len(data)))
    if most is not None and len(rows) > most:
        rows = [int(i * len(data) / most) for i in range(most)]
    items = [replace(data.item(i, None), media=torch.empty(0)) for i in rows]
    labels = torch.tensor([-1 if item.label is None else item.label for item in items])
    sources, lengths = [item.source for item in items], [item.length for item in items]
    return ExampleSet(LazySubset(DatasetMedia(data), rows), labels, sources, lengths, items)


def load_real_data(recipe: Recipe, most: int, recorded: frozenset[str] = frozenset()) -> RealData:
    """The training and held-out examples of a recipe, at most `most` of each.

    Args:
        recipe: The recipe.
        most: Largest number of each.
        recorded: See `build_dataset`.

    Raises:
        BadInput: If data.root is not given or holds nothing usable.
    """
    if recipe.data.params.get("root", "") is None:
        raise BadInput("eval compares with the real data: say where it is, with data.root=path/to/folder")
    try:
        train, spec = build_dataset(recipe, "train", recorded)
    except BadInput as error:
        if "root" in recipe.data.params and not Path(recipe.data.params["root"]).exists():
            raise BadInput(f"{error}; say where the real data is: data.root=path/to/folder") from error
        raise
    held_out = None
    if recipe.split.valid > 0:
        with suppress(EmptySplit):
            held_out = examples_from_dataset(build_dataset(recipe, "valid", recorded)[0], most)
    captions = [row.get("caption") for row in train.manifest()]
    texts = {text for one in captions for text in (one if isinstance(one, list) else [one]) if text}
    return RealData(examples_from_dataset(train, most), held_out, tuple(spec.classes), frozenset(texts))


def data_change_remark(recipe: Recipe, checkpoint: Path, recorded: frozenset[str]) -> str | None:
    """A remark where the data differs from that of the training; None: no difference is known.

    Compared are the classes with those of the checkpoint, and the files with the list of training files in the run
    folder.
    """
    train, spec = build_dataset(recipe, "train", recorded)
    known = read_header(checkpoint).spec.classes
    if tuple(spec.classes) != tuple(known):
        return (
            f"The data has the classes {', '.join(spec.classes) or 'none'}; the run has {', '.join(known) or 'none'}."
        )
    now = {row["hash"] for row in train.manifest() if row.get("hash")}
    if not recorded or recorded == now:
        return None
    return (
        f"The data is not what the run was trained on: {len(now - recorded)} training examples are new and "
        f"{len(recorded - now)} are gone."
    )


def balanced_subset(examples: ExampleSet, count: int, seed: int = 0) -> ExampleSet:
    """`count` random examples of a set, balanced over the classes; all of them where there are no more."""
    if len(examples) <= count:
        return examples
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    turn = torch.zeros(len(examples))
    for label in examples.labels.unique():
        rows = order[examples.labels[order] == label]
        turn[rows] = torch.arange(len(rows)).float()
    chosen = order[turn[order].argsort(stable=True)][:count]
    return examples.select(chosen.sort().values.tolist())
