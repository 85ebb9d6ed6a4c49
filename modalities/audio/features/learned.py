"""Features of a small network that is trained on the real sounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ....core.evaluation.classifier import Classifier, classify, real_data_classifier
from ....core.types import BadInput, MediaSpec
from ..evaluation import AudioEvaluation


class Learned:
    """96 features of a sound: the penultimate layer of a small network that is trained on the real training sounds.

    With classes it is trained to classify; without, to match two augmented views of a sound among those of others. It
    is trained on the training sounds, so distances to these are not meaningful: compare with held-out sounds.

    Args:
        spec: Media specification with rate and classes.
        epochs: Passes over the training sounds.
        cache: Folder of trained networks, named by a hash of sounds and settings; null: no cache.
    """

    learned = True
    standardise = False  # all features have one unit

    def __init__(self, spec: MediaSpec, epochs: int = 25, cache: Path | None = None):
        if epochs < 1:
            raise BadInput(f"eval.feature.epochs is {epochs}: give 1 or more")
        if spec.rate is None:
            raise BadInput("audio/learned needs the sounds' rate in Hz")
        self.spec, self.epochs, self.cache = spec, epochs, cache
        self.adapter = AudioEvaluation(float(spec.rate))
        self.model: Classifier | None = None

    def fit(self, media: Sequence[Tensor], labels: Tensor) -> None:
        """Train on the real training sounds; labels (N,), -1: no class."""
        x, adapter = self.adapter.classifier_input(media), self.adapter
        classes = len(self.spec.classes)
        self.model = real_data_classifier(
            x, labels, classes, adapter.augment, adapter.classifier, self.epochs, self.cache
        )

    def __call__(self, media: Sequence[Tensor]) -> np.ndarray:
        """Sounds (C, frames) -> (N, 96) float64.

        Raises:
            BadInput: If `fit` was not called.
        """
        if self.model is None:
            raise BadInput("audio/learned must be fitted on the training sounds first")
        return classify(self.model, self.adapter.classifier_input(media))[1].double().numpy()
