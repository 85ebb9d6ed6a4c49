"""Heun's method as an exponential integrator in lambda, on estimates of x0.

x_t = (sigma_t / sigma_s) x_s + alpha_t [(psi_0 - psi_1) D_s + psi_1 D_t]

The two-stage method of second order of Hochbruck and Ostermann 2005 (SIAM J. Numer. Anal. 43, c_2 = 1) in the exact
solution of Lu et al. 2022 (arXiv:2211.01095, eq. 8); it is the single-step method of RES (Zhang et al. 2023,
arXiv:2308.02157).
"""

from __future__ import annotations

from ._coefficients import first_order_step, lambda_step
from ._exponential import exponential_moments
from ._numbers import any_true, select_by_mask
from .base import PlanBuilder, PlannedSampler


class HeunExp(PlannedSampler):
    """Heun's method in lambda: the line through the estimates at both ends of a step, integrated exactly.

    x_t = (sigma_t / sigma_s) x_s + alpha_t [(psi_0 - psi_1) D_s + psi_1 D_t], where D_t is the estimate at the
    first-order point; psi_0 = 1 - e^-h, psi_1 = 1 - psi_0 / h, h = lambda_t - lambda_s.

    In a step from alpha_s = 0, where h is infinite, both estimates have the weight 1/2: the trapezoidal rule in alpha /
    sigma, which is regular there. Two evaluations per step; the step to sigma_t = 0 is of first order, with one
    evaluation.
    """

    order = 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for s, t in builder.pairs():
            D, inside = builder.denoise(x), t.sigma > 0
            first = first_order_step(builder, x, D, s, t, t.sigma)
            if not any_true(inside):
                x = builder.step(first, t)
                continue
            D_t = builder.denoise(builder.point(first, t))
            weight = select_by_mask(s.alpha > 0, exponential_moments(lambda_step(s, t), 2)[1], 0.5)
            x = builder.step(first + ((D_t - D) * (t.alpha * weight)).masked(inside), t)
