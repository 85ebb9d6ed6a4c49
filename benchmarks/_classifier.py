"""The small classifier of `sonolux eval`, kept in out/classifiers under a hash of the data and the settings."""

from __future__ import annotations

from pathlib import Path

from sonolux.core.measuring import classifier
from sonolux.core.measuring.classifier import Augment, Classifier, Settings, accuracy, confusion, recognise, train, warp
from torch import Tensor

__all__ = ["CACHE", "Settings", "accuracy", "confusion", "recognise", "train", "trained", "warp"]

CACHE = Path("out/classifiers")


def trained(
    x: Tensor, y: Tensor, classes: int, augment: Augment, settings: Settings, cache: Path | None = CACHE
) -> Classifier:
    """A classifier of pictures x (N, C, H, W) with labels y (N,), trained now or earlier."""
    return classifier.trained(x, y, classes, augment, settings, cache)
