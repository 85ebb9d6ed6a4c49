"""Features of a small network that is trained on the real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ....core.evaluation.classifier import Classifier, classify, real_data_classifier
from ....core.types import BadInput, MediaSpec
from ..evaluation import ImageEvaluation


class Learned:
    """96 features of a picture: the penultimate layer of a small network trained on the real training pictures.

    With classes it is trained to classify; without, to match two augmented views of a picture among those of others. It
    is trained on the training pictures, so distances to these are not meaningful: compare with held-out pictures.

    Args:
        spec: Media specification with the classes.
        epochs: Passes over the training pictures.
        cache: Folder of trained networks, named by a hash of pictures and settings; null: no cache.
    """

    learned = True
    standardise = False  # all features have one unit

    def __init__(self, spec: MediaSpec, epochs: int = 25, cache: Path | None = None):
        if epochs < 1:
            raise BadInput(f"eval.feature.epochs is {epochs}: give 1 or more")
        self.spec, self.epochs, self.cache = spec, epochs, cache
        self.adapter = ImageEvaluation()
        self.model: Classifier | None = None

    def fit(self, media: Sequence[Tensor], labels: Tensor) -> None:
        """Train on the real training pictures; labels (N,), -1: no class."""
        x, adapter = self.adapter.classifier_input(media), self.adapter
        classes = len(self.spec.classes)
        self.model = real_data_classifier(
            x, labels, classes, adapter.augment, adapter.classifier, self.epochs, self.cache
        )

    def __call__(self, media: Sequence[Tensor]) -> np.ndarray:
        """Pictures (C, H, W) -> (N, 96) float64.

        Raises:
            BadInput: If `fit` was not called.
        """
        if self.model is None:
            raise BadInput("image/learned must be fitted on the training pictures first")
        return classify(self.model, self.adapter.classifier_input(media))[1].double().numpy()
