"""Precision, recall and coverage of the generated data by nearest neighbours."""

from __future__ import annotations

from ...types import BadInput
from .base import Features, Groups, Metric, MetricColumn, as_feature_pair, kth_neighbour_distance, pairwise_distances

_FEW = 20  # up to this number of real rows the default of k is 3


class PrecisionRecall(Metric):
    """Shares of examples that lie in balls around the examples of the other set.

    The radius of a ball is the distance of its centre to its k-th nearest neighbour.

        precision: generated examples inside at least one real ball (quality)
        recall:    real examples inside at least one generated ball (variety)
        coverage:  real balls that hold at least one generated example (variety; generated outliers do not raise it)

    For equal distributions and N = M coverage is 1 - (1/2)^k on average, whatever the distributions are. Precision and
    recall have no such closed form and fall as d grows, so compare them with those of real data against real data.

    Source: Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models", equations
    1 and 2; Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", equations 8 and 10.

    Args:
        k: Which nearest neighbour defines the radius of a ball; null: 5, or 3 where the real set has 20 rows or fewer.
    """

    results = (
        MetricColumn(
            "precision",
            "precision",
            "share",
            format="{:.1%}",
            meaning="share of samples that lie among real {many}: quality",
        ),
        MetricColumn(
            "recall", "recall", "share", format="{:.1%}", meaning="share of real {many} that lie among samples: variety"
        ),
        MetricColumn(
            "coverage",
            "coverage",
            "share",
            format="{:.1%}",
            meaning="share of real {many} that have a sample near them: variety, outliers aside",
        ),
    )

    def __init__(self, k: int | None = None):
        if k is not None and k < 1:
            raise BadInput(f"k is {k}: give at least one neighbour")
        self.k = k
        self.min_rows = max(11, (k or 0) + 1)

    def __call__(self, generated: Features, real: Features, groups: Groups | None = None) -> dict[str, float]:
        """`precision`, `recall` and `coverage`, 0 to 1; raises BadInput where a set has no more than k rows."""
        g, r = as_feature_pair(generated, real)
        k = self.k or (3 if len(r) <= _FEW else 5)
        between = pairwise_distances(g, r)  # (N, M)
        in_real = between <= kth_neighbour_distance(r, k)[None, :]
        in_generated = between <= kth_neighbour_distance(g, k)[:, None]
        return {
            "precision": float(in_real.any(axis=1).mean()),
            "recall": float(in_generated.any(axis=0).mean()),
            "coverage": float(in_real.any(axis=0).mean()),
        }
