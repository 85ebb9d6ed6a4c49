"""How much of the generated data looks real, and how much of the real data is reached."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ...types import BadInput
from .base import Features, Shares, as_pair, distances, neighbour

Part = Literal["precision", "recall", "coverage"]


class PrecisionRecall:
    """Shares of examples that lie in balls around the other set; a ball reaches to its centre's k-th nearest neighbour.

        precision: generated examples inside at least one real ball (quality)
        recall:    real examples inside at least one generated ball (variety)
        coverage:  real balls that hold at least one generated example (variety; generated outliers do not raise it)

    For equal distributions and N = M coverage is 1 - (1/2)^k on average, whatever they are. Precision and recall have
    no such closed form and fall as d grows, so put them beside those of real data against real data.

    k: neighbours that set the radius of a ball
    part: the share that a call returns

    Source: Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models", equations
    1 and 2; Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", equations 8 and 10.
    """

    def __init__(self, k: int = 5, part: Part = "precision"):
        if k < 1:
            raise BadInput(f"k is {k}: give at least one neighbour")
        if part not in get_args(Part):
            raise BadInput(f"part is {part!r}: give one of {', '.join(get_args(Part))}")
        self.k, self.part = k, part

    def __call__(self, generated: Features, real: Features) -> float:
        """The share named by `part`, 0 to 1; raises BadInput on bad arrays and where a set has no more than k rows."""
        return getattr(self.shares(generated, real), self.part)

    def shares(self, generated: Features, real: Features) -> Shares:
        """All three shares at the cost of one; generated (N, d), real (M, d)."""
        g, r = as_pair(generated, real)
        between = distances(g, r)  # (N, M)
        in_real = between <= neighbour(r, self.k)[None, :]
        in_generated = between <= neighbour(g, self.k)[:, None]
        precision, recall, coverage = in_real.any(axis=1), in_generated.any(axis=0), in_real.any(axis=0)
        return Shares(float(np.mean(precision)), float(np.mean(recall)), float(np.mean(coverage)))
