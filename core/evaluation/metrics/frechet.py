"""The Frechet distance between two sets of features, each approximated by a Gaussian."""

from __future__ import annotations

import numpy as np

from .base import Features, Groups, Metric, MetricColumn, as_feature_pair


class Frechet(Metric):
    """The squared Frechet (2-Wasserstein) distance between Gaussians fitted to both sets: FID, on any features.

        d^2 = |m_g - m_r|^2 + tr(S_g + S_r - 2 (S_g S_r)^(1/2))

    It is biased upwards by about 1/N: compare values at equal N only, and with that of real data to real data.

    Source: Dowson and Landau 1982, "The Frechet distance between multivariate normal distributions";
    Heusel et al. 2017, "GANs trained by a two time-scale update rule", equation 6.
    """

    results = (MetricColumn("frechet", "Frechet distance, N = {n}"),)

    def __call__(self, generated: Features, real: Features, groups: Groups | None = None) -> dict[str, float]:
        """`frechet`: d^2 in squared feature units; classes are ignored."""
        return {"frechet": frechet_distance(generated, real)}


def frechet_distance(generated: Features, real: Features) -> float:
    """d^2 between generated (N, d) and real (M, d); raises BadInput on bad arrays.

    No matrix square root is computed. With the centred rows X/sqrt(N-1) = Q R, S = R^T R, so the eigenvalues of S_g S_r
    are the squared singular values of R_g R_r^T, and tr (S_g S_r)^(1/2) is their sum. This remains exact for a singular
    covariance (N <= d, constant features), where square roots of rounded eigenvalues would lose half of the digits.
    """
    g, r = as_feature_pair(generated, real)
    root_g, root_r = _root(g), _root(r)
    shift = g.mean(axis=0) - r.mean(axis=0)
    cross = np.linalg.svd(root_g @ root_r.T, compute_uv=False).sum()
    spread = (root_g**2).sum() + (root_r**2).sum() - 2 * cross
    return float(shift @ shift + max(spread, 0.0))


def _root(rows: np.ndarray) -> np.ndarray:
    """R (min(N, d), d) with R^T R the unbiased covariance of the rows."""
    return np.linalg.qr(rows - rows.mean(axis=0), mode="r") / np.sqrt(len(rows) - 1)
