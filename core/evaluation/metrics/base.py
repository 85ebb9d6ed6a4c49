"""The contract of metrics, and what they share: checked feature arrays and exact distances.

A metric compares two arrays of features (N, d): one row an example, one column a feature. It never asks what the rows
describe; features are a component of their own, so every metric serves every modality.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ...types import BadInput

Features = np.ndarray | Tensor
Groups = tuple[np.ndarray, np.ndarray]
"""Labels (N,) of the generated and (M,) of the real rows."""


@dataclass(frozen=True)
class MetricResult:
    """One number that a metric gives, and how a report shows it.

    Attributes:
        key: its name in the metric's results and in metrics.json
        name: its name in a table; `{n}` stands for the number of generated examples
        kind: "distance": 0 is best, shown with an interval and a verdict; "share": from 0 to 1
        scale: a report shows the value times this
        format: how a report shows it
        unbiased: its expected value does not depend on the number of examples
        meaning: one line on what it says; `{many}` stands for what examples are called. "": the verdict says it
    """

    key: str
    name: str
    kind: Literal["distance", "share"] = "distance"
    scale: float = 1.0
    format: str = "{:.3g}"
    unbiased: bool = False
    meaning: str = ""


class Metric(ABC):
    """Compares generated features (N, d) with real ones (M, d): the component kind `metric`.

    Attributes:
        results: what a call gives, in the order of a table
        min_rows: rows that each set needs; with fewer a report leaves the metric out
    """

    results: ClassVar[Sequence[MetricResult]]
    min_rows: int = 2

    @abstractmethod
    def __call__(self, generated: Features, real: Features, groups: Groups | None = None) -> dict[str, float]:
        """A value for each of `results`, by its key.

        Args:
            generated: (N, d)
            real: (M, d)
            groups: class labels of the rows, where the number of examples of each class is fixed

        Raises:
            BadInput: for other shapes, too few rows, and values that are not finite.
        """

    def fixed(self, real: Features) -> Metric:
        """The metric with everything that it would otherwise take from the real set taken from `real` (M, d).

        A report compares many subsets with each other: they must be measured alike.
        """
        return self


def as_features(value: Features, name: str = "features", least: int = 2) -> np.ndarray:
    """`value` as float64 (N, d).

    Raises:
        BadInput: On other shapes, fewer rows than `least`, or NaN.
    """
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


def kth_neighbour_distance(a: np.ndarray, k: int) -> np.ndarray:
    """Distance (N,) of each row of a to its k-th nearest other row."""
    if not 1 <= k < len(a):
        raise BadInput(f"k is {k}: the k-th nearest neighbour among {len(a)} rows needs 1 <= k <= {len(a) - 1}")
    own = distances(a, a)
    np.fill_diagonal(own, np.inf)
    return np.partition(own, k - 1, axis=1)[:, k - 1]
