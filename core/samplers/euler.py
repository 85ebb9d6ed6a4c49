"""Euler's method on the probability-flow ODE (Karras et al. 2022, arXiv:2206.00364, algorithm 1, lines 4 and 5).

In y = x / alpha and rho = sigma / alpha the ODE is dy/drho = eps, so one step is

    y_t = y_s + (rho_t - rho_s) eps, eps = (x_s - alpha_s D) / sigma_s

Multiplied by alpha_t it has no division by alpha and may start at alpha = 0. On VE and EDM this is Euler's step in
sigma, on rectified flow Euler's step in t, and on every schedule the step of DDIM.
"""

from __future__ import annotations

from .base import PlanBuilder, PlannedSampler


class Euler(PlannedSampler):
    """Euler's method on the probability-flow ODE: first order, one evaluation per step.

    x_t = (sigma_t / sigma_s) x_s + (alpha_t - alpha_s sigma_t / sigma_s) D
    """

    order = 1

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for s, t in builder.pairs():
            D = builder.denoise(x)
            x = builder.step(x * (t.sigma / s.sigma) + D * (t.alpha - s.alpha * (t.sigma / s.sigma)), t)
