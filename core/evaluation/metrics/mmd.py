"""The maximum mean discrepancy between two sets of features."""

from __future__ import annotations

import numpy as np

from ...types import BadInput
from .base import Features, Groups, Metric, MetricColumn, as_feature_pair, as_features, pairwise_distances


class MMD(Metric):
    """The unbiased squared maximum mean discrepancy with a Gaussian kernel, without assumptions on the distributions.

        MMD^2 = mean_{i != j} k(g_i, g_j) + mean_{i != j} k(r_i, r_j) - 2 mean_{i, j} k(g_i, r_j),
        k(x, y) = exp(-|x - y|^2 / (2 h^2))

    Its expected value is 0 for equal distributions at every N, so a value may be slightly negative: it is not clamped.

    Source: Gretton et al. 2012, "A kernel two-sample test", equation 3 and section 8 (median heuristic).

    Args:
        bandwidth: Bandwidth h, in units of the features; null: the median distance between real examples.
    """

    results = (MetricColumn("mmd", "MMD x 1000", scale=1000, unbiased=True),)

    def __init__(self, bandwidth: float | None = None):
        if bandwidth is not None and not bandwidth > 0:
            raise BadInput(f"bandwidth is {bandwidth}: give a distance above 0, or null: the median of the real set")
        self.bandwidth = bandwidth

    def __call__(self, generated: Features, real: Features, groups: Groups | None = None) -> dict[str, float]:
        """`mmd`: MMD^2, dimensionless."""
        return {"mmd": squared_mmd(generated, real, self.bandwidth, groups)}

    def fixed(self, real: Features) -> MMD:
        """The metric with the bandwidth of `real`."""
        return MMD(self.bandwidth or median_distance(real))


def squared_mmd(
    generated: Features, real: Features, bandwidth: float | None = None, groups: Groups | None = None
) -> float:
    """MMD^2 between generated (N, d) and real (M, d); raises BadInput on bad arrays.

    Where a set holds fixed numbers n_c of each class, pairs of one class are rarer among different rows than across
    sets, n_c (n_c - 1) / (n (n - 1)) < (n_c / n)^2, which would make the expected value negative. With `groups`, every
    pair of classes is weighted by its share: M + (W - M) / n in place of M, the mean over all pairs of different rows,
    with W the mean over pairs of one class, classes weighted by n_c / n.

    Args:
        generated: Features (N, d).
        real: Features (M, d).
        bandwidth: Bandwidth h; None: the median distance between the real rows.
        groups: Classes of the rows, where the number of rows of each class is fixed.
    """
    g, r = as_feature_pair(generated, real)
    h = bandwidth or median_distance(r)
    of_g, of_r = groups or (None, None)
    return float(_others(g, h, of_g) + _others(r, h, of_r) - 2 * _kernel(g, r, h).mean())


def median_distance(rows: Features) -> float:
    """The median distance between different rows of (N, d); raises BadInput where more than half of them coincide."""
    r = as_features(rows)
    median = float(np.median(pairwise_distances(r, r)[np.triu_indices(len(r), k=1)]))
    if median == 0:
        raise BadInput("the median distance of the real set is 0: most of its rows are the same; give the bandwidth")
    return median


def _kernel(a: np.ndarray, b: np.ndarray, h: float) -> np.ndarray:
    return np.exp(-np.square(pairwise_distances(a, b)) / (2 * h * h))


def _others(a: np.ndarray, h: float, groups: np.ndarray | None = None) -> float:
    """Mean kernel over pairs of different rows; the diagonal, which is always 1, would bias it."""
    n, kernel = len(a), _kernel(a, a, h)
    mean = (kernel.sum() - n) / (n * (n - 1))
    if groups is None:
        return mean
    more = 0.0
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        size = len(rows)
        if size > 1:
            same = (kernel[np.ix_(rows, rows)].sum() - size) / (size * (size - 1))
            more += size / n * (same - mean)
    return mean + more / n
