"""Heun's method of EDM (Karras et al. 2022, arXiv:2206.00364, algorithm 1), in rho, for every schedule.

In y = x / alpha the probability-flow ODE is dy/drho = eps(y, rho): an Euler step to t, then the mean of the two slopes.
"""

from __future__ import annotations

from ._coefficients import first_order
from .base import PlanBuilder, Sampler


class Heun(Sampler):
    """EDM's Heun: an Euler step, corrected with the slope at its end; second order.

    x_t = Euler's point + alpha_t (rho_t - rho_s) / 2 (eps_t - eps_s), eps = (x - alpha D) / sigma. Two evaluations a
    step, and one where Euler's step stands because a slope is not defined: from alpha_s = 0 (rho_s is infinite) and to
    sigma_t = 0.
    """

    order = 2

    def draft(self, draft: PlanBuilder) -> None:
        x = draft.start()
        for s, t in draft.pairs():
            D = draft.denoise(x)
            euler = first_order(draft, x, D, s, t, t.sigma)
            inside = (s.alpha > 0) & (t.sigma > 0)
            if not bool(inside.any()):
                x = draft.step(euler, t)
                continue
            eps = (x - s.alpha * D) / s.sigma
            x = draft.point(euler, t)
            eps_t = (x - t.alpha * draft.denoise(x)) / t.sigma
            x = draft.step(x + (t.alpha * (t.rho - s.rho) / 2 * (eps_t - eps)).where(inside), t)
