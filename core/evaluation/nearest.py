"""Novelty: is a sample farther from the training data than unseen real data is?"""

from __future__ import annotations

import numpy as np

from ..types import BadInput
from .base import Features, as_features, as_pair, distances, neighbour


class Nearest:
    """The ratio of nearest-neighbour distances to the training data: generated over unseen real examples.

        ratio = median_i min_j |g_i - t_j| / median_i min_j |v_i - t_j|

    About 1: samples are as new as held-out data. Well below 1: copies. Above 1: unlike the data. Medians, so that a few
    outliers do not hide many copies; `copies` counts few copies among many. Without held-out examples the training
    examples' distances to each other stand in: slightly longer, for each has one neighbour fewer.

    quantile: a sample is a near copy where it is closer than this share of the held-out examples, ...
    closeness: ... times this factor

    Source: the test for data copying of Meehan et al. 2020, "A non-parametric test to detect data-copying in generative
    models", section 3, as a ratio.
    """

    def __init__(self, quantile: float = 0.01, closeness: float = 0.5):
        if not 0 <= quantile < 1:
            raise BadInput(f"quantile is {quantile}: give a share of the held-out examples, from 0 to below 1")
        if not closeness > 0:
            raise BadInput(f"closeness is {closeness}: give a positive factor")
        self.quantile, self.closeness = quantile, closeness

    def __call__(self, generated: Features, real: Features, held_out: Features | None = None) -> float:
        """The ratio for generated (N, d), training data (M, d) and held-out data (K, d) or None; without unit.

        Raises BadInput on bad arrays, and where half of the held-out examples occur in the training data.
        """
        reference = float(np.median(self.reference(real, held_out)))
        if reference == 0:
            raise BadInput("most held-out examples also occur in the training data: remove duplicates, split again")
        return float(np.median(self.to_train(generated, real)[0])) / reference

    def to_train(self, generated: Features, real: Features) -> tuple[np.ndarray, np.ndarray]:
        """For each generated row its distance (N,) to the nearest training row, and that row's index (N,)."""
        between = distances(*as_pair(generated, real, least=1))
        index = between.argmin(axis=1)
        return between[np.arange(len(index)), index], index

    def reference(self, real: Features, held_out: Features | None = None) -> np.ndarray:
        """Distances of held-out rows (K,) to the training rows, or of each training row (M,) to the others."""
        if held_out is None:
            return neighbour(as_features(real, "real"), 1)
        return self.to_train(held_out, real)[0]

    def threshold(self, real: Features, held_out: Features | None = None) -> float:
        """The distance below which a sample is a near copy: closeness times a low quantile of unseen real data's."""
        return self.closeness * float(np.quantile(self.reference(real, held_out), self.quantile))

    def copies(self, generated: Features, real: Features, held_out: Features | None = None) -> np.ndarray:
        """Indices of the generated rows that are near copies of a training row."""
        distance, _ = self.to_train(generated, real)
        return np.flatnonzero(distance <= self.threshold(real, held_out))
