"""UniPC (Zhao et al. 2023, arXiv:2302.04867): algorithms 7 and 8, the multistep UniP-p and UniC-p on estimates of x0.

UniP-p predicts from the last p estimates; UniC-p corrects the point that was reached, with the estimate made there,
which the next step needs anyway. The paper solves R_p(h) a B(h) = phi_p(h); with three nodes or more B(h) cancels and
the polynomial is integrated exactly, with two the paper takes a_1 = 1/2, so that B(h) stays.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..types import BadInput
from ._coefficients import Node, first_order, log_step
from ._exponential import higher, psi
from ._numbers import Mask, where
from .base import PlanBuilder, PlannedSampler
from .plan import LinearCombination, PlanLevel


class UniPC(PlannedSampler):
    """UniPC: predictor and corrector for one evaluation a step; order of convergence predictor_order + 1.

    x_t = (sigma_t / sigma_s) x_s + alpha_t ((1 - e^-h) D_0 + B(h) sum_m a_m D_m / r_m), h = lambda_t - lambda_s, with
    D_m = D(r_m) - D_0 at r_m = (lambda_m - lambda_s) / h: older estimates, for the corrector the new one (r = 1) also.

    A step ends at the predicted point, where the estimate is made; the correction enters with the next step, before its
    predictor, and the last point is a predicted one. There is no correction to a step from alpha_s = 0.

    Args:
        predictor_order: p of UniPC-p, estimates the predictor uses: 1, 2 or 3.
        variant: B(h) for two nodes: bh1 (h), or bh2 (1 - e^-h), which suits few steps.
        lower_final: p falls to 1 over the last steps: steadier where those are few and long in lambda; the last of them
            makes the order 2 where it does not end clean.
    """

    def __init__(self, predictor_order: int = 2, variant: Literal["bh1", "bh2"] = "bh2", lower_final: bool = False):
        if predictor_order not in (1, 2, 3):
            raise BadInput(f"unipc's predictor_order is 1, 2 or 3, not {predictor_order}")
        if variant not in ("bh1", "bh2"):
            raise BadInput(f"unipc's variant is bh1 or bh2, not {variant!r}")
        self.predictor_order, self.variant, self.lower_final = predictor_order, variant, lower_final
        self.order = 2 if lower_final else predictor_order + 1

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes, before, predicted = builder.start(), [], None, LinearCombination({})
        for left, (s, t) in zip(range(len(builder.levels) - 1, 0, -1), builder.pairs(), strict=True):
            D = builder.denoise(x)
            if before is not None:  # UniC: the step that led here once more, now with the estimate at its end
                x = x + self._beyond(before, s, [nodes[0], (s, D), *nodes[1:]]) - predicted
            most = left if self.lower_final else self.predictor_order
            before, nodes = s, [(s, D), *nodes][: min(most, self.predictor_order)]
            predicted = self._beyond(s, t, nodes)  # UniP
            x = builder.step(first_order(builder, x, D, s, t, t.sigma) + predicted, t)

    def _beyond(self, s: PlanLevel, t: PlanLevel, nodes: list[Node]) -> LinearCombination:
        """alpha_t B(h) sum_m a_m D_m / r_m: what both add to the step of first order."""
        h = log_step(s, t)
        psis = psi(h, len(nodes))
        if len(nodes) > 1:
            two = (h if self.variant == "bh1" else psis[0]) / 2
            psis[1] = where(_three(nodes), psis[1], two)
        return higher(s, t, nodes, psis)


def _three(nodes: list[Node]) -> Mask:
    """Where there is a third node: not at alpha = 0, and not the level of another, which an element of a map kept."""
    first, second, *older = [level.rho for level, _ in nodes]
    return np.isfinite(older[0]) & (older[0] > first) & (older[0] > second) if older else np.False_
