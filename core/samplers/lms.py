"""Linear multistep (Adams-Bashforth with unequal steps) on the noise estimate, in rho = sigma / alpha.

x_t = alpha_t (x_s / alpha_s + sum_j C_j eps_j), C_j = int_(rho_s)^(rho_t) l_j(rho) drho

In y = x / alpha the probability-flow ODE is dy/drho = eps(y, rho) (Karras et al. 2022, arXiv:2206.00364, eq. 4); the
polynomial through the last estimates is integrated exactly (Hairer, Norsett and Wanner 1993, "Solving ordinary
differential equations I", section III.5). The same method as k-diffusion's `sample_lms`, which integrates numerically.
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order_step
from ._exponential import newton_integral
from .base import PlanBuilder, PlannedSampler


class LMS(PlannedSampler):
    """Linear multistep in rho: Lagrange polynomials of the noise estimates, integrated exactly.

    x_t = alpha_t (x_s / alpha_s + sum_j C_j eps_j), C_j = int_(rho_s)^(rho_t) l_j(rho) drho, where l_j are the Lagrange
    polynomials in rho and eps = (x - alpha D) / sigma.

    One evaluation per step. The order grows with the number of stored estimates. A step from alpha_s = 0, where rho is
    infinite, is of first order, and its estimate is not used later; the step to sigma_t = 0 has full order.

    Args:
        order: Number of estimates in a step, 1 to 4; equals the order of convergence.
    """

    def __init__(self, order: int = 4):
        if order not in (1, 2, 3, 4):
            raise BadInput(f"lms's order is 1, 2, 3 or 4, not {order}")
        self.order = self.nodes = order

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes = builder.start(), []
        for s, t in builder.pairs():
            D = builder.denoise(x)
            nodes = [(s, (x - D * s.alpha) / s.sigma), *nodes][: self.nodes]
            width = t.rho - s.rho
            r = [(level.rho - s.rho) / width for level, _ in nodes]
            moments = [width / (k + 1) for k in range(self.nodes)]
            rest = newton_integral(r, [eps for _, eps in nodes], moments, scale=t.alpha)
            x = builder.step(first_order_step(builder, x, D, s, t, t.sigma) + rest, t)
