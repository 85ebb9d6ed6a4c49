"""Features of a small network that is trained on the real pictures."""

from __future__ import annotations

from pathlib import Path

from ....core.evaluation.classifier_features import ClassifierFeatures
from ....core.types import MediaSpec
from ..evaluation import ImageEvaluation


class Learned(ClassifierFeatures):
    """96 features of a picture: the penultimate layer of a small network trained on the real training pictures.

    See `ClassifierFeatures`.

    Args:
        spec: Media specification with the classes.
        epochs: Passes over the training pictures.
        cache: Folder of trained networks, named by a hash of pictures and settings; null: no cache.
    """

    def __init__(self, spec: MediaSpec, epochs: int = 25, cache: Path | None = None):
        super().__init__(spec, ImageEvaluation(), epochs, cache)
