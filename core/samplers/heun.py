"""Heun's method of EDM (Karras et al. 2022, arXiv:2206.00364, algorithm 1), in rho, for every schedule.

In y = x / alpha the probability-flow ODE is dy/drho = eps(y, rho): an Euler step to t, then the mean of the two slopes.
The step itself stands in _moves.py, for edm_churn and restart are made of it too.
"""

from __future__ import annotations

from ._moves import heun
from .base import PlanBuilder, PlannedSampler


class Heun(PlannedSampler):
    """EDM's Heun: an Euler step, corrected with the slope at its end; second order.

    x_t = Euler's point + alpha_t (rho_t - rho_s) / 2 (eps_t - eps_s), eps = (x - alpha D) / sigma. Two evaluations a
    step, and one where Euler's step stands because a slope is not defined: from alpha_s = 0 (rho_s is infinite) and to
    sigma_t = 0.
    """

    order = 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for s, t in builder.pairs():
            x = heun(builder, x, s, t)
