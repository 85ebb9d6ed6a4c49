"""The evaluation adapter of pictures for `sonolux eval`."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...core.evaluation.adapter import DefectMeasure, MediaFile
from ...core.evaluation.classifier import ClassifierSettings, random_affine
from ...core.evaluation.measures import ExampleMeasure
from ...core.evaluation.near_copies import ALTERATIONS, NearestMatches
from . import defects, io, measures, similarity


class ImageEvaluation:
    """The EvaluationAdapter of pictures (C, H, W) of one size."""

    nouns: tuple[str, str] = ("picture", "pictures")
    feature = "image/learned"
    further_features: Sequence[str] = ()
    suffixes: Collection[str] = io.SUFFIXES
    copy_threshold = similarity.COPY
    classifier = ClassifierSettings(widths=(16, 48, 96), epochs=25, lr=4e-3, dropout=0.4, smoothing=0.1, budget=4.2e7)
    whole_files = False

    def classifier_input(self, media: Sequence[Tensor]) -> Tensor:
        """The pictures, downsampled to at most 48 pixels: (N, C, h, w)."""
        return similarity.downsample(media, 48)

    def augment(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Small rotations, shifts, scalings and shears. No mirroring, which would change letters."""
        return random_affine(x, rng, turn=8, zoom=0.12, shift=0.12, shear=0.08)

    def nearest(self, media: Sequence[Tensor], training: Sequence[Tensor]) -> NearestMatches:
        """Nearest training pictures, invariant to brightness, contrast, shift, mirror and crop: see similarity.py."""
        return similarity.nearest_pictures(media, training)

    def planted_copies(self, media: Sequence[Tensor], seed: int) -> dict[str, list[Tensor]]:
        """Copies with a changed contrast; with contrast and shift; with contrast and crop."""
        return {kind: similarity.make_altered_pictures(media, kind, seed) for kind in ALTERATIONS}

    def defects(self, media: Sequence[Tensor], real: Sequence[Tensor], loop: bool) -> list[DefectMeasure]:
        """Defects of pictures, see defects.py."""
        return defects.measure_defects(media, real, loop)

    def measures(self, media: Sequence[Tensor]) -> list[ExampleMeasure]:
        """Brightness, contrast, saturation and sharpness, see measures.py."""
        return measures.measure_pictures(media)

    def preview(self, media: Tensor) -> list[MediaFile]:
        """The picture as a PNG file."""
        with tempfile.TemporaryDirectory() as folder:
            path = io.write_picture(Path(folder) / "picture.png", torch.nan_to_num(media.detach().float().cpu()))
            return [MediaFile("image/png", path.read_bytes())]
