"""What a modality brings to `sonolux eval`: `Modality.evaluation()` returns an EvaluationAdapter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .classifier import ClassifierSettings
from .near_copies import NearestMatches


@dataclass(frozen=True)
class DefectMeasure:
    """One kind of defect, measured on every example.

    Attributes:
        key: its name in metrics.json
        name: its name in tables
        meaning: one line on what counts as this defect
        values: (N,) of the samples
        flags: (N,) bool: which samples have the defect
        real: (M,) values of real examples
        real_flags: (M,) bool: which real examples have it
        format: how a value is shown; "": only the counts are
    """

    key: str
    name: str
    meaning: str
    values: Tensor
    flags: Tensor
    real: Tensor
    real_flags: Tensor
    format: str = ""


class MediaFile(NamedTuple):
    """A file that a web page can show: its MIME type ("image/png", "audio/wav") and its bytes."""

    mime: str
    data: bytes


class EvaluationAdapter(Protocol):
    """The parts of an evaluation that depend on the modality.

    Attributes:
        nouns: what one example is called, and several: ("sound", "sounds")
        feature: name of the modality's own feature component
        suffixes: of files that it reads, in lower case, with the dot
        copy_threshold: similarity from which on an example counts as a copy where too few are held out to set one
        classifier: settings of its small classifier
        whole_files: defects are measured on samples as their files hold them; False: at the recipe's size, which files
            may exceed, except for loops, whose seam a crop would open
    """

    nouns: tuple[str, str]
    feature: str
    suffixes: Collection[str]
    copy_threshold: float
    classifier: ClassifierSettings
    whole_files: bool

    def classifier_input(self, media: Sequence[Tensor]) -> Tensor:
        """What the small classifier takes: (N, C, H, W) in about [-1, 1]."""
        ...

    def augment(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Classifier input (B, C, H, W), augmented at random for training."""
        ...

    def nearest(self, media: Sequence[Tensor], training: Sequence[Tensor]) -> NearestMatches:
        """The most similar training example of each, invariant to gain, shift and crop."""
        ...

    def planted_copies(self, media: Sequence[Tensor], seed: int) -> dict[str, list[Tensor]]:
        """Altered copies that test the search, by what was altered: gain, shift, crop."""
        ...

    def defects(self, media: Sequence[Tensor], real: Sequence[Tensor], loop: bool) -> list[DefectMeasure]:
        """Defects of samples as their files hold them, and of real examples; `loop`: also those of a seam."""
        ...

    def preview(self, media: Tensor) -> list[MediaFile]:
        """What a page shows of one example (C, *spatial)."""
        ...
