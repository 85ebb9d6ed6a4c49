"""The part of `sonolux eval` that a modality supplies: `Modality.evaluation()` returns an EvaluationAdapter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..util.media_files import MediaFile
from .classifier import ClassifierSettings
from .measures import ExampleMeasure
from .near_copies import NearestMatches


@dataclass(frozen=True)
class DefectMeasure:
    """One kind of defect, measured on every example.

    Attributes:
        key: Its name in metrics.json.
        name: Its name in tables.
        meaning: One line on what counts as this defect.
        values: (N,) values of the samples.
        flags: (N,) bool, which samples have the defect.
        real: (M,) values of real examples.
        real_flags: (M,) bool, which real examples have it.
        format: Format string of a value; "": only the counts are shown.
    """

    key: str
    name: str
    meaning: str
    values: Tensor
    flags: Tensor
    real: Tensor
    real_flags: Tensor
    format: str = ""


class EvaluationAdapter(Protocol):
    """The parts of an evaluation that depend on the modality.

    Attributes:
        nouns: Words for one example and for several: ("sound", "sounds").
        feature: Name of the modality's default feature component.
        further_features: Names of features whose MMD is measured too, where a recipe names no feature: of what the
            default feature cannot tell apart.
        suffixes: Suffixes of the files that it reads, in lower case, with the dot.
        copy_threshold: Similarity above which an example counts as a copy; used where too few examples are held out to
            measure a threshold.
        classifier: Settings of the small classifier.
        whole_files: True: defects are measured on samples as stored in their files; False: at the recipe's size, which
            files may exceed, except for loops, which a crop would open at the seam.
    """

    nouns: tuple[str, str]
    feature: str
    further_features: Sequence[str]
    suffixes: Collection[str]
    copy_threshold: float
    classifier: ClassifierSettings
    whole_files: bool

    def classifier_input(self, media: Sequence[Tensor]) -> Tensor:
        """Input of the small classifier: (N, C, H, W), about in [-1, 1]."""
        ...

    def augment(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Classifier input (B, C, H, W) with random augmentation for training."""
        ...

    def nearest(self, media: Sequence[Tensor], training: Sequence[Tensor]) -> NearestMatches:
        """The most similar training example of each example, invariant to gain, shift and crop."""
        ...

    def planted_copies(self, media: Sequence[Tensor], seed: int) -> dict[str, list[Tensor]]:
        """Altered copies, which test the search for copies: kind of alteration (gain, shift, crop) -> copies."""
        ...

    def defects(self, media: Sequence[Tensor], real: Sequence[Tensor], loop: bool) -> list[DefectMeasure]:
        """Defects of samples as stored in their files, and of real examples; `loop`: also defects of the seam."""
        ...

    def measures(self, media: Sequence[Tensor]) -> list[ExampleMeasure]:
        """Single numbers of examples without padding, whose distributions are compared: the same ones for every set."""
        ...

    def preview(self, media: Tensor) -> list[MediaFile]:
        """Files that show one example (C, *spatial) on a web page."""
        ...
