"""Features: what makes them, how those of a set are computed, and how features of different units are standardised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ..types import BadInput
from .metrics.base import Features, as_features


class Feature(Protocol):
    """Turns media, each (C, *spatial), into an array (N, d): the component kind `feature`.

    A class may state `standardise = False`: its numbers are of one unit and are compared as they are. A feature with a
    method `fit(media, labels)` is trained on the training examples first; such a class states `learned = False` where
    it does not know them afterwards.
    """

    def __call__(self, media: Sequence[Tensor]) -> Features: ...


def is_learned(feature: Any) -> bool:
    """Whether a feature knows the training examples, so that distances to these measure nothing."""
    return bool(getattr(feature, "learned", hasattr(feature, "fit")))


def describe(feature: Feature, media: Sequence[Tensor], name: str) -> np.ndarray:
    """Features (N, d) of a set, in batches; BadInput where the component does not give a row an example."""
    rows = []
    for i in range(0, len(media), 128):
        part = list(media[i : i + 128])
        given = as_features(feature(part), f"what {name} returns", least=1)
        if len(given) != len(part):
            raise BadInput(f"{name} returned {len(given)} rows for {len(part)} examples: it gives (N, d), a row each")
        rows.append(given)
    return np.concatenate(rows)


def standardised(reference: Features, *sets: Features) -> list[np.ndarray]:
    """(x - mean) / deviation for each set, with the mean and deviation (d,) of `reference`: features of different
    units count alike. A feature that never varies in the reference keeps scale 1, so that a set which moves it shows.
    """
    ref = as_features(reference, "reference")
    mean, scale = ref.mean(axis=0), ref.std(axis=0)
    scale = np.where(scale > 1e-9 * (np.abs(mean) + scale.max()), scale, 1.0)
    return [(as_features(s, "features", least=1) - mean) / scale for s in sets]
