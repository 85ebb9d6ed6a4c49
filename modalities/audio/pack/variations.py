"""Variations for round robin: no two alike, none a copy of a training sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ....core.pipeline.pipeline import Pipeline
from ....core.training.build import build_dataset
from ....core.types import BadInput
from .. import io
from ..similarity import COPY, nearest_sounds

ROUNDS = 4
"""Maximum number of seeds."""
MOST = 2000
"""Maximum number of training sounds that are compared."""
_HIGHEST = 0.98
_COMPARED = 60  # known sounds that the ceiling is measured on

Takes = Callable[[int, int], Sequence[Tensor]]
"""(seed, count) -> sounds (C, frames) that are numbered from 0."""


@dataclass
class Variation:
    """An accepted variation.

    Attributes:
        sound: The sound, (C, frames).
        seed: Seed that reproduces it, together with `sample`.
        sample: Sample number.
        to_training: Similarity to the nearest known sound; None: not compared.
    """

    sound: Tensor
    seed: int
    sample: int
    to_training: float | None


@dataclass
class FoundVariations:
    """The accepted variations, and how many sounds were rejected for which reason."""

    kept: list[Variation] = field(default_factory=list)
    silent: int = 0
    copies: int = 0
    repeats: int = 0

    def summary(self, count: int) -> str:
        """The result in one line."""
        rejected = f"{self.copies} too similar to known sounds, {self.repeats} to each other, {self.silent} silent"
        return f"{len(self.kept)} of {count} variations; rejected: {rejected}"


def training_sounds(pipeline: Pipeline, label: str | None, root: Path | None = None) -> list[Tensor]:
    """The training sounds of a run, read as in training.

    Args:
        pipeline: The run.
        label: Only those of this class; None: all.
        root: Folder of the training data, if it was moved.

    Raises:
        BadInput: The training data are not there, or the run has no such class.
    """
    if label is not None and label not in pipeline.classes:
        raise BadInput(f"there is no class {label!r}: the classes are {', '.join(pipeline.classes) or 'none'}")
    moved = [] if root is None else [f"data.root={json.dumps(str(root.resolve()))}"]
    try:
        source, spec = build_dataset(pipeline.recipe.with_overrides(moved) if moved else pipeline.recipe, "train")
    except BadInput as error:
        raise BadInput(f"the training data of the run is needed to detect copies: give --data ({error})") from error
    index = None if label is None else list(spec.classes).index(label)
    found = []
    for i in range(len(source)):
        item = source.item(i, None)
        if index is None or item.label == index:
            found.append(item.media)
        if len(found) == MOST:
            break
    return found


def similarities(sounds: Sequence[Tensor], known: Sequence[Tensor], rate: float) -> list[float]:
    """The similarity of each sound to the nearest known sound; 0 if there are none. Lengths may differ."""
    if not known or not sounds:
        return [0.0] * len(sounds)
    return nearest_sounds(_padded(sounds), _padded(known), rate).similarity.tolist()


def similarities_to_others(sounds: Sequence[Tensor], rate: float) -> list[float]:
    """For each sound its largest similarity to another of the same set; 0 for a single one."""
    others = ([*sounds[:i], *sounds[i + 1 :]] for i in range(len(sounds)))
    return [similarities([sound], rest, rate)[0] for sound, rest in zip(sounds, others, strict=True)]


def similarity_ceiling(known: Sequence[Tensor], rate: float) -> float:
    """The similarity above which a sound is a copy: the median of known sounds to others, limited to 0.9 to 0.98.

    Of many sounds every n-th is compared with the rest.
    """
    if len(known) < 3:
        return COPY
    every = max(2, -(-len(known) // _COMPARED))
    rest = [sound for i, sound in enumerate(known) if i % every]
    found = similarities(known[::every], rest, rate)
    return min(max(COPY, float(torch.tensor(found).median())), _HIGHEST)


def _padded(sounds: Sequence[Tensor]) -> list[Tensor]:
    longest = max(s.shape[-1] for s in sounds)
    return [functional.pad(s, (0, longest - s.shape[-1])) for s in sounds]


def find_variations(
    takes: Takes, count: int, rate: float, seed: int = 0, known: Sequence[Tensor] = (), ceiling: float = 1.0
) -> FoundVariations:
    """Variations that are not silent, and differ from each other and from known sounds.

    Args:
        takes: Makes the sounds; called with up to `ROUNDS` successive seeds until there are enough.
        count: Number of variations.
        rate: Hz.
        seed: The first seed.
        known: Sounds of which copies are rejected.
        ceiling: Similarity above which a sound is rejected; 1 or more: nothing is compared.
    """
    found, compared = FoundVariations(), ceiling < 1
    for turn in range(seed, seed + ROUNDS):
        sounds = takes(turn, 2 * count if compared else count)
        audible = [i for i, sound in enumerate(sounds) if float(sound.abs().max()) > io.SILENT]
        found.silent += len(sounds) - len(audible)
        nearest = similarities([sounds[i] for i in audible], known, rate) if compared else [None] * len(audible)
        for i, similarity in zip(audible, nearest, strict=True):
            if similarity is not None and similarity > ceiling:
                found.copies += 1
            elif compared and similarities([sounds[i]], [k.sound for k in found.kept], rate)[0] > ceiling:
                found.repeats += 1
            else:
                found.kept.append(Variation(sounds[i], turn, i, similarity))
            if len(found.kept) == count:
                return found
    return found
