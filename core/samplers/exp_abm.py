"""Exponential Adams-Bashforth-Moulton methods in lambda = log(alpha / sigma): predict, evaluate, correct.

corrected x_t = predicted x_t + alpha_t int_0^h e^(u - h) (P - Q)(lambda_s + u) du

The predictor uses exp_ab's polynomial Q through the last estimates; the polynomial P of the corrector also goes through
the estimate at the predicted point (Hochbruck and Ostermann 2010, "Exponential integrators", Acta Numerica 19, section
2.5; for diffusion: Zhao et al. 2023, arXiv:2302.04867). PECE evaluates again at the corrected point; PEC continues with
the estimate at the predicted point.
"""

from __future__ import annotations

from typing import Literal

from ..types import BadInput
from ._coefficients import Node, first_order_step, lambda_step
from ._exponential import exponential_moments, higher_order_terms
from ._numbers import any_true
from .base import PlanBuilder, PlannedSampler
from .plan import LinearCombination, PlanLevel


class ExpABM(PlannedSampler):
    """Exponential Adams-Bashforth-Moulton: a predictor of order - 1; a corrector increases the order by one.

    corrected x_t = predicted x_t + alpha_t int_0^h e^(u - h) (P - Q)(lambda_s + u) du, h = lambda_t - lambda_s, where Q
    is the polynomial through the last order - 1 estimates, and P also goes through the estimate at the predicted point.

    pec: one evaluation per step, at the predicted point, where the step ends; the correction is applied in the next
    step, and the last point is a predicted one.
    pece: a step ends at the corrected point, which is also evaluated: two evaluations per step.
    Steps from alpha_s = 0 and to sigma_t = 0 are of first order, with one evaluation.

    Args:
        order: Order of convergence, 2 to 4.
        mode: `pec` (one evaluation per step) or `pece` (two).
    """

    def __init__(self, order: int = 3, mode: Literal["pec", "pece"] = "pec"):
        if order not in (2, 3, 4):
            raise BadInput(f"exp_abm's order is 2, 3 or 4, not {order}")
        if mode not in ("pece", "pec"):
            raise BadInput(f"exp_abm's mode is pece (two evaluations per step) or pec (one), not {mode!r}")
        self.order, self.nodes, self.mode = order, order, mode

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes, pair = builder.start(), [], None
        for s, t in builder.pairs():
            D = builder.denoise(x)
            if self.mode == "pec" and pair is not None:
                x = x + self._correction(*pair, nodes, (s, D))
            nodes, pair = [(s, D), *nodes][: self.nodes - 1], (s, t)
            predicted = first_order_step(builder, x, D, s, t, t.sigma) + higher_order_terms(
                s, t, nodes, exponential_moments(lambda_step(s, t), self.nodes)
            )
            if self.mode == "pec" or not any_true((s.alpha > 0) & (t.sigma > 0)):
                x = builder.step(predicted, t)
                continue
            x = builder.point(predicted, t)
            x = builder.step(x + self._correction(s, t, nodes, (t, builder.denoise(x))), t)

    def _correction(self, s: PlanLevel, t: PlanLevel, nodes: list[Node], new: Node) -> LinearCombination:
        psis = exponential_moments(lambda_step(s, t), self.nodes)
        return higher_order_terms(s, t, [nodes[0], new, *nodes[1:]], psis) - higher_order_terms(s, t, nodes, psis)
