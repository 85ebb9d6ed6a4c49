"""UniPC (Zhao et al. 2023, arXiv:2302.04867, algorithms 7 and 8): the multistep UniP-p and UniC-p on estimates of x0.

x_t = (sigma_t / sigma_s) x_s + alpha_t ((1 - e^-h) D_0 + B(h) sum_m a_m D_m / r_m)

UniP-p predicts from the last p estimates; UniC-p corrects the predicted point with the estimate at this point, which
the next step needs anyway. The paper solves R_p(h) a B(h) = phi_p(h). With three or more nodes B(h) cancels and the
polynomial is integrated exactly; with two nodes the paper sets a_1 = 1/2, so B(h) matters.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..types import BadInput
from ._coefficients import Node, first_order_step, lambda_step
from ._exponential import exponential_moments, higher_order_terms
from ._numbers import Mask, select_by_mask
from .base import PlanBuilder, PlannedSampler
from .plan import LinearCombination, PlanLevel


class UniPC(PlannedSampler):
    """UniPC: predictor and corrector with one evaluation per step; order of convergence predictor_order + 1.

    x_t = (sigma_t / sigma_s) x_s + alpha_t ((1 - e^-h) D_0 + B(h) sum_m a_m D_m / r_m), h = lambda_t - lambda_s, with
    D_m = D(r_m) - D_0 at r_m = (lambda_m - lambda_s) / h: the older estimates, and for the corrector also the new one
    (r = 1).

    A step ends at the predicted point, which is evaluated; the correction is applied in the next step, before its
    predictor, and the last point is a predicted one. A step from alpha_s = 0 is not corrected.

    Args:
        predictor_order: p of UniPC-p, the number of estimates that the predictor uses: 1, 2 or 3.
        variant: B(h) for two nodes: `bh1` (h), or `bh2` (1 - e^-h), which is better for few steps.
        lower_final: Reduce p to 1 over the last steps: more stable where these are few and long in lambda; the order is
            then 2 where the last level is not clean.
    """

    def __init__(self, predictor_order: int = 2, variant: Literal["bh1", "bh2"] = "bh2", lower_final: bool = False):
        if predictor_order not in (1, 2, 3):
            raise BadInput(f"unipc's predictor_order is 1, 2 or 3, not {predictor_order}")
        if variant not in ("bh1", "bh2"):
            raise BadInput(f"unipc's variant is bh1 or bh2, not {variant!r}")
        self.predictor_order, self.variant, self.lower_final = predictor_order, variant, lower_final
        self.order = 2 if lower_final else predictor_order + 1

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes, previous, predicted = builder.start(), [], None, LinearCombination({})
        for remaining, (s, t) in zip(range(len(builder.levels) - 1, 0, -1), builder.pairs(), strict=True):
            D = builder.denoise(x)
            if previous is not None:  # UniC: correct the previous step with the estimate at its end
                x = x + self._higher_terms(previous, s, [nodes[0], (s, D), *nodes[1:]]) - predicted
            limit = remaining if self.lower_final else self.predictor_order
            previous, nodes = s, [(s, D), *nodes][: min(limit, self.predictor_order)]
            predicted = self._higher_terms(s, t, nodes)  # UniP
            x = builder.step(first_order_step(builder, x, D, s, t, t.sigma) + predicted, t)

    def _higher_terms(self, s: PlanLevel, t: PlanLevel, nodes: list[Node]) -> LinearCombination:
        """alpha_t B(h) sum_m a_m D_m / r_m: what predictor and corrector add to the first-order step."""
        h = lambda_step(s, t)
        psis = exponential_moments(h, len(nodes))
        if len(nodes) > 1:
            two = (h if self.variant == "bh1" else psis[0]) / 2
            psis[1] = select_by_mask(_has_third(nodes), psis[1], two)
        return higher_order_terms(s, t, nodes, psis)


def _has_third(nodes: list[Node]) -> Mask:
    """Where a third node exists: its alpha is not 0, and its level differs from those of the other two nodes."""
    first, second, *older = [level.rho for level, _ in nodes]
    return np.isfinite(older[0]) & (older[0] > first) & (older[0] > second) if older else np.False_
