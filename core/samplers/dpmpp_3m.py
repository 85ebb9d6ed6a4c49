"""DPM-Solver++(3M) of true third order (Lu et al. 2022, arXiv:2211.01095, eq. 8 and 9 with n = 3).

x_t = (sigma_t / sigma_s) x_s + alpha_t int_0^h e^(u - h) D(lambda_s + u) du

The estimates at the last three levels give D and its first two derivatives in lambda, from which the terms of eq. 9
follow. In the widely used implementation the second derivative has half its weight, which makes it a method of second
order.
"""

from __future__ import annotations

from ._coefficients import first_order_step, lambda_step
from ._exponential import exponential_moments, higher_order_terms
from .base import PlanBuilder, PlannedSampler


class DPMpp3M(PlannedSampler):
    """DPM-Solver++(3M): third order with one evaluation per step, from the last three estimates.

    x_t = (sigma_t / sigma_s) x_s + alpha_t int_0^h e^(u - h) D(lambda_s + u) du, h = lambda_t - lambda_s, where D(.) is
    the parabola through the last three estimates.

    The order grows with the number of stored estimates: 1, 2, 3. An estimate at alpha = 0 is not used. The step to
    sigma_t = 0, where h is infinite, is of first order.
    """

    order = 3

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes = builder.start(), []
        for s, t in builder.pairs():
            D = builder.denoise(x)
            nodes = [(s, D), *nodes[:2]]
            x = builder.step(
                first_order_step(builder, x, D, s, t, t.sigma)
                + higher_order_terms(s, t, nodes, exponential_moments(lambda_step(s, t), 3)),
                t,
            )
