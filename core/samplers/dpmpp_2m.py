"""DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2): a multistep method of second order.

x_t = (sigma_t / sigma_s) x_s + alpha_t (1 - e^-h) (D_s + (D_s - D_r) h / (2 h_r)), with the previous estimate D_r and
the previous step h_r in lambda
"""

from __future__ import annotations

import numpy as np

from ._coefficients import first_order_step, lambda_step
from ._exponential import higher_order_terms
from .base import PlanBuilder, PlannedSampler


class DPMpp2M(PlannedSampler):
    """DPM-Solver++(2M): second order with one evaluation per step; the usual choice for few steps.

    x_t = (sigma_t / sigma_s) x_s + alpha_t (1 - e^-h) (D + dD/dr / 2), h = lambda_t - lambda_s

    The slope in r = (lambda - lambda_s) / h is computed from the last two estimates. First order in the first step, in
    a step from alpha_s = 0 and the step after it, and in the step to sigma_t = 0, where h is infinite.
    """

    order = 2

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes = builder.start(), []
        for s, t in builder.pairs():
            D = builder.denoise(x)
            nodes = [(s, D), *nodes[:1]]
            psi0 = -np.expm1(-lambda_step(s, t))
            x = builder.step(
                first_order_step(builder, x, D, s, t, t.sigma) + higher_order_terms(s, t, nodes, [psi0, psi0 / 2]), t
            )
