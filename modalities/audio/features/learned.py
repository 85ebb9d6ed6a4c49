"""Features of a small network that is trained on the real sounds."""

from __future__ import annotations

from pathlib import Path

from ....core.evaluation.classifier_features import ClassifierFeatures
from ....core.types import BadInput, MediaSpec
from ..evaluation import AudioEvaluation


class Learned(ClassifierFeatures):
    """96 features of a sound: the penultimate layer of a small network trained on the real training sounds.

    See `ClassifierFeatures`.

    Args:
        spec: Media specification with rate and classes.
        epochs: Passes over the training sounds.
        cache: Folder of trained networks, named by a hash of sounds and settings; null: no cache.
    """

    def __init__(self, spec: MediaSpec, epochs: int = 25, cache: Path | None = None):
        if spec.rate is None:
            raise BadInput("audio/learned needs the sounds' rate in Hz")
        super().__init__(spec, AudioEvaluation(float(spec.rate)), epochs, cache)
