"""Heun's method of EDM (Karras et al. 2022, arXiv:2206.00364, algorithm 1), in rho = sigma / alpha, for every schedule.

y_t = y_s + (rho_t - rho_s) (eps_s + eps_t) / 2, y = x / alpha

In y and rho the probability-flow ODE is dy/drho = eps(y, rho): an Euler step to t, then the mean of the slopes at both
ends. The step is implemented in _shared_steps.py, because edm_churn and restart also use it.
"""

from __future__ import annotations

from ._shared_steps import heun_step
from .base import PlanBuilder, PlannedSampler


class Heun(PlannedSampler):
    """EDM's Heun: an Euler step, corrected with the slope at its end; second order.

    x_t = x_euler + alpha_t (rho_t - rho_s) / 2 (eps_t - eps_s), eps = (x - alpha D) / sigma

    Two evaluations per step. Steps from alpha_s = 0 (rho_s is infinite) and to sigma_t = 0, where one of the slopes is
    not defined, are Euler steps with one evaluation.
    """

    order = 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for s, t in builder.pairs():
            x = heun_step(builder, x, s, t)
