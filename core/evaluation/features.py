"""Features: the protocol, the features of a set of examples, and their standardisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ..types import BadInput
from .metrics.base import Features, as_features


class Feature(Protocol):
    """Maps media, each (C, *spatial), to an array (N, d): the component kind `feature`.

    A class may set `standardise = False`: its features have one unit and are compared without standardisation. A
    feature with a method `fit(media, labels)` is fitted on the training examples first; such a class sets `learned =
    False` if it is not biased towards them afterwards.
    """

    def __call__(self, media: Sequence[Tensor]) -> Features: ...


def is_fitted_on_training_data(feature: Any) -> bool:
    """Whether a feature was learned on the training examples, so that distances to these are not meaningful."""
    return bool(getattr(feature, "learned", hasattr(feature, "fit")))


def compute_features(feature: Feature, media: Sequence[Tensor], name: str) -> np.ndarray:
    """Features (N, d) of a set, in batches; BadInput where the component does not return one row per example."""
    rows = []
    for i in range(0, len(media), 128):
        part = list(media[i : i + 128])
        features = as_features(feature(part), f"what {name} returns", least=1)
        if len(features) != len(part):
            raise BadInput(
                f"{name} returned {len(features)} rows for {len(part)} examples; a feature returns one row per example"
            )
        rows.append(features)
    return np.concatenate(rows)


def standardise_features(reference: Features, *sets: Features) -> list[np.ndarray]:
    """(x - mean) / deviation for each set, with the mean and deviation (d,) of `reference`.

    Features of different units then have equal weight. A feature that is constant in the reference keeps scale 1, so
    that a difference in another set remains visible.
    """
    ref = as_features(reference, "reference")
    mean, scale = ref.mean(axis=0), ref.std(axis=0)
    scale = np.where(scale > 1e-9 * (np.abs(mean) + scale.max()), scale, 1.0)
    return [(as_features(s, "features", least=1) - mean) / scale for s in sets]
