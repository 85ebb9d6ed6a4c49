"""Exponential Adams-Bashforth methods in lambda = log(alpha / sigma), on estimates of x0.

x_t = (sigma_t / sigma_s) x_s + alpha_t int_0^h e^(u - h) D(lambda_s + u) du

Noersett 1969, and Hochbruck and Ostermann 2010 ("Exponential integrators", Acta Numerica 19, section 2.5), for any
linear part; for diffusion, the multistep form of DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095, eq. 8) at any order.
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order_step, lambda_step
from ._exponential import exponential_moments, higher_order_terms
from .base import PlanBuilder, PlannedSampler


class ExpAB(PlannedSampler):
    """Exponential Adams-Bashforth: the polynomial through the last estimates, integrated exactly.

    x_t = (sigma_t / sigma_s) x_s + alpha_t int_0^h e^(u - h) D(lambda_s + u) du, h = lambda_t - lambda_s

    One evaluation per step. Order 1 is ddim, 3 is dpmpp_3m. The order grows with the number of stored estimates; an
    estimate at alpha = 0 is not used; the step to sigma_t = 0, where h is infinite, is of first order.

    Args:
        order: Number of estimates in a step, 1 to 4; equals the order of convergence.
    """

    def __init__(self, order: int = 2):
        if order not in (1, 2, 3, 4):
            raise BadInput(f"exp_ab's order is 1, 2, 3 or 4, not {order}")
        self.order = self.nodes = order

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes = builder.start(), []
        for s, t in builder.pairs():
            D = builder.denoise(x)
            nodes = [(s, D), *nodes][: self.nodes]
            psis = exponential_moments(lambda_step(s, t), self.nodes)
            x = builder.step(first_order_step(builder, x, D, s, t, t.sigma) + higher_order_terms(s, t, nodes, psis), t)
