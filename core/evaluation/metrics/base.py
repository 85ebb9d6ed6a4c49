"""The interface of metrics, checked feature arrays and exact distances.

A metric compares two arrays of features (N, d): one row per example, one column per feature. It does not depend on what
the features describe: they are a separate component, so every metric works for every modality.
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
class MetricColumn:
    """One result of a metric, and its display in a report.

    Attributes:
        key: Name in the metric's results and in metrics.json.
        name: Name in a table; `{n}` is replaced by the number of generated examples.
        kind: "distance": 0 is best, shown with an interval and an interpretation; "share": from 0 to 1.
        scale: Factor on the value in a report.
        format: Format string of the value in a report.
        unbiased: Whether the expected value does not depend on the number of examples.
        meaning: Explanation in one line; `{many}` is replaced by the plural noun of examples; "": derived from the
            value.
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
        results: Results of a call, in the order of a table.
        min_rows: Minimum rows of each set; with fewer, a report leaves the metric out.
    """

    results: ClassVar[Sequence[MetricColumn]]
    min_rows: int = 2

    @abstractmethod
    def __call__(self, generated: Features, real: Features, groups: Groups | None = None) -> dict[str, float]:
        """Key -> value of each of `results`.

        Args:
            generated: Features (N, d).
            real: Features (M, d).
            groups: Class labels of the rows, where the number of examples of each class is fixed.

        Raises:
            BadInput: For other shapes, too few rows, and values that are not finite.
        """

    def fixed(self, real: Features) -> Metric:
        """The metric with all data-dependent parameters fixed to those of `real` (M, d).

        A report compares many subsets, which must all be measured with the same parameters.
        """
        return self


def as_features(value: Features, name: str = "features", least: int = 2) -> np.ndarray:
    """`value` as float64 (N, d).

    Raises:
        BadInput: On other shapes, fewer rows than `least`, or NaN.
    """
    array = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise BadInput(
            f"{name}: shape {array.shape}, but a metric takes (N, d): one row per example, one column per feature"
        )
    if len(array) < least:
        raise BadInput(f"{name}: {len(array)} rows, but at least {least} are needed; make more samples")
    bad = int((~np.isfinite(array)).any(axis=1).sum())
    if bad:
        raise BadInput(f"{name}: {bad} of {len(array)} rows hold NaN or infinite values; look at these examples first")
    return array


def as_feature_pair(generated: Features, real: Features, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (N, d) and (M, d); raises BadInput where d differs."""
    g, r = as_features(generated, "generated", least), as_features(real, "real", least)
    if g.shape[1] != r.shape[1]:
        raise BadInput(f"generated has {g.shape[1]} features and real has {r.shape[1]}: both need the same extractor")
    return g, r


def pairwise_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, M) between the rows of a and b.

    Differences are formed explicitly: |a|^2 + |b|^2 - 2ab would leave copies at distance 1e-8 |a| instead of 0.
    """
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(torch.from_numpy(a), torch.from_numpy(b), compute_mode=mode).numpy()


def kth_neighbour_distance(a: np.ndarray, k: int) -> np.ndarray:
    """Distance (N,) of each row of a to its k-th nearest other row."""
    if not 1 <= k < len(a):
        raise BadInput(f"k is {k}: the k-th nearest neighbour among {len(a)} rows needs 1 <= k <= {len(a) - 1}")
    between = pairwise_distances(a, a)
    np.fill_diagonal(between, np.inf)
    return np.partition(between, k - 1, axis=1)[:, k - 1]
