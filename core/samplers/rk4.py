"""The classical Runge-Kutta method (Kutta 1901) on the bounded clock tau = sigma / (alpha + sigma): the reference.

Its last stage lies at the end of the step, where the velocity is not defined if sigma_t = 0, and an explicit method of
order 4 in four stages always has one there (Butcher 2016, "Numerical methods for ordinary differential equations",
section 322). A step to sigma_t = 0 is Ralston's of third order (1962, Math. Comp. 16), whose stages lie at 0, 1/2 and
3/4: its local error is of the fourth power of the step, so the whole solution keeps its fourth order.
"""

from __future__ import annotations

import torch

from ._coefficients import first_order
from ._stages import drift, on_tau, velocity
from .base import PlanBuilder, Sampler


class RK4(Sampler):
    """The classical Runge-Kutta method in tau: fourth order; a reference rather than a method for few evaluations.

    u_t = u_s + (tau_t - tau_s) (v_1 + 2 v_2 + 2 v_3 + v_4) / 6, u = x / (alpha + sigma), v = E[eps - x0], v_2 and v_3
    half-way, v_4 at t. To sigma_t = 0: (2 v_1 + 3 v_2 + 4 v_3) / 9 with v_3 at three quarters. Four evaluations a step,
    three to sigma_t = 0; alpha_s = 0 is nothing special.
    """

    order = 4

    def draft(self, draft: PlanBuilder) -> None:
        x = draft.start()
        for s, t in draft.pairs():
            inside = t.sigma > 0
            half, late = on_tau(draft.schedule, s, t, 0.5), on_tau(draft.schedule, s, t, torch.where(inside, 0.5, 0.75))
            D = draft.denoise(x)
            x_2 = draft.point(first_order(draft, x, D, s, half, half.sigma), half)
            v_1, v_2 = velocity(x, D, s), velocity(x_2, draft.denoise(x_2), half)
            x_3 = draft.point(drift(x, s, late, v_2), late)
            v_3 = velocity(x_3, draft.denoise(x_3), late)
            v = (2 * v_1 + 3 * v_2 + 4 * v_3) / 9
            if bool(inside.any()):
                x_4 = draft.point(drift(x, s, t, v_3), t)
                v_4 = velocity(x_4, draft.denoise(x_4), t)
                v = ((v_1 + 2 * v_2 + 2 * v_3 + v_4) / 6).where(inside) + v.where(~inside)
            x = draft.step(drift(x, s, t, v), t)
