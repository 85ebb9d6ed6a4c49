"""What the metrics share: checked feature arrays, exact distances, standardised features, intervals.

A metric is called as `metric(generated, real) -> float` on arrays (N, d): one row an example, one column a feature. It
never asks what the rows describe; what makes features is a component of its own, so every metric serves every modality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ...types import BadInput

Features = np.ndarray | Tensor


class Metric(Protocol):
    """A number that compares generated features (N, d) with real ones (M, d)."""

    def __call__(self, generated: Features, real: Features, /) -> float: ...


class Feature(Protocol):
    """What makes features: media, each (C, *spatial), to an array (N, d).

    On the class, where it is so: `standardise = False`: numbers of one unit, compared as they are; `learned = False`:
    its `fit(media, labels)` does not make it know the training examples.
    """

    def __call__(self, media: Sequence[Tensor]) -> Features: ...


class Shares(NamedTuple):
    """What k-nearest-neighbour balls say, each from 0 to 1."""

    precision: float
    recall: float
    coverage: float


def as_features(value: Features, name: str = "features", least: int = 2) -> np.ndarray:
    """`value` as float64 (N, d). Raises BadInput on other shapes, fewer rows than `least`, or NaN."""
    array = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise BadInput(f"{name}: shape {array.shape}, but a metric takes (N, d): a row an example, a column a feature")
    if len(array) < least:
        raise BadInput(f"{name}: {len(array)} rows, but at least {least} are needed; make more samples")
    bad = int((~np.isfinite(array)).any(axis=1).sum())
    if bad:
        raise BadInput(f"{name}: {bad} of {len(array)} rows hold NaN or infinite values; look at these examples first")
    return array


def as_pair(generated: Features, real: Features, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (N, d) and (M, d); raises BadInput where d differs."""
    g, r = as_features(generated, "generated", least), as_features(real, "real", least)
    if g.shape[1] != r.shape[1]:
        raise BadInput(f"generated has {g.shape[1]} features and real has {r.shape[1]}: both need the same extractor")
    return g, r


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, M) between the rows of a and b.

    Differences are formed explicitly: |a|^2 + |b|^2 - 2ab would leave copies at distance 1e-8 |a| instead of 0.
    """
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(torch.from_numpy(a), torch.from_numpy(b), compute_mode=mode).numpy()


def neighbour(a: np.ndarray, k: int) -> np.ndarray:
    """Distance (N,) of each row of a to its k-th nearest other row."""
    if not 1 <= k < len(a):
        raise BadInput(f"k is {k}: the k-th nearest neighbour among {len(a)} rows needs 1 <= k <= {len(a) - 1}")
    own = distances(a, a)
    np.fill_diagonal(own, np.inf)
    return np.partition(own, k - 1, axis=1)[:, k - 1]


def standardised(reference: Features, *sets: Features) -> list[np.ndarray]:
    """(x - mean) / deviation for each set, with the mean and deviation (d,) of `reference`: features of different
    units count alike. A feature that never varies in the reference keeps scale 1, so that a set which moves it shows.
    """
    ref = as_features(reference, "reference")
    mean, scale = ref.mean(axis=0), ref.std(axis=0)
    scale = np.where(scale > 1e-9 * (np.abs(mean) + scale.max()), scale, 1.0)
    return [(as_features(s, "features", least=1) - mean) / scale for s in sets]


def bootstrap(
    metric: Metric,
    generated: Features,
    real: Features,
    repeats: int,
    rng: np.random.Generator,
    level: float = 0.95,
    groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[float, float]:
    """An interval (low, high) around metric(generated, real) that holds its expected value with probability `level`.

    Each repeat takes a random half of each set WITHOUT replacement. For a mean, the variance over halves of a finite
    sample is s^2/(n/2) (1 - 1/2) = s^2/n, just that of the whole sample, and unlike the usual bootstrap no row occurs
    twice: duplicates would raise MMD, lower nearest-neighbour distances and shrink covariances. Metrics that depend
    on N (the Frechet distance is biased upwards by about 1/N) are larger on halves, so only the spread of the repeats
    is used: [v + q_low - mean, v + q_high - mean] with v the value on all rows. Where both sets come from one
    distribution a quadratic metric such as MMD^2 varies like 1/n instead of 1/sqrt(n): the interval is then wider than
    it need be, never narrower.

    groups: labels (N,) and (M,) of the rows, such as classes: halves are then taken within each, since a distance
        between sets of several classes would otherwise vary mostly with the classes' shares, which are not in question

    Source: Shao and Wu 1989, "A general theory for jackknife variance estimation" (delete-d jackknife, d = n/2).
    """
    g, r = as_pair(generated, real, least=4)
    if repeats < 2:
        raise BadInput(f"repeats is {repeats}: an interval needs at least 2, and 100 or more to mean something")
    if not 0 < level < 1:
        raise BadInput(f"level is {level}: give the probability of the interval, between 0 and 1")
    value = metric(g, r)
    of_g, of_r = groups or (np.zeros(len(g)), np.zeros(len(r)))
    halves = np.array([metric(g[_half(of_g, rng)], r[_half(of_r, rng)]) for _ in range(repeats)])
    low, high = np.quantile(halves, [(1 - level) / 2, (1 + level) / 2]) - halves.mean()
    return float(value + low), float(value + high)


def _half(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of a random half of each group; of an odd group the half is rounded down or up in turn."""
    chosen, spare = [], 0
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        size = (len(rows) + spare) // 2
        spare = len(rows) + spare - 2 * size
        chosen.append(rows[:size])
    return np.concatenate(chosen)
