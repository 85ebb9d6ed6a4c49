"""Features of a small network that is trained on the real training examples, for every modality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..types import BadInput, MediaSpec
from .adapter import EvaluationAdapter
from .classifier import Classifier, classify, real_data_classifier


class ClassifierFeatures:
    """96 features: the penultimate layer of a small network that is trained on the real training examples.

    With classes it is trained to classify; without, to match two augmented views of an example among those of others.
    Distances to the training examples are not meaningful afterwards: compare with held-out examples.

    Args:
        spec: Media specification with the classes.
        adapter: The evaluation adapter of the modality: input and augmentation of the network, and its settings.
        epochs: Passes over the training examples.
        cache: Folder of trained networks, named by a hash of examples and settings; None: no cache.
    """

    learned = True
    standardise = False  # all features have one unit

    def __init__(self, spec: MediaSpec, adapter: EvaluationAdapter, epochs: int, cache: Path | None):
        if epochs < 1:
            raise BadInput(f"eval.feature.epochs is {epochs}: give 1 or more")
        self.spec, self.adapter, self.epochs, self.cache = spec, adapter, epochs, cache
        self.model: Classifier | None = None

    def fit(self, media: Sequence[Tensor], labels: Tensor) -> None:
        """Train on the real training examples; labels (N,), -1: no class."""
        x, adapter, classes = self.adapter.classifier_input(media), self.adapter, len(self.spec.classes)
        self.model = real_data_classifier(
            x, labels, classes, adapter.augment, adapter.classifier, self.epochs, self.cache
        )

    def __call__(self, media: Sequence[Tensor]) -> np.ndarray:
        """Media, each (C, *spatial), -> (N, 96) float64.

        Raises:
            BadInput: If `fit` was not called.
        """
        if self.model is None:
            raise BadInput(f"{self.spec.modality}/learned must be fitted on the training examples first")
        return classify(self.model, self.adapter.classifier_input(media))[1].double().numpy()
