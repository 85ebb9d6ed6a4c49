"""The classical Runge-Kutta method (Kutta 1901) in the bounded time tau = sigma / (alpha + sigma): a reference method.

u_t = u_s + (tau_t - tau_s) (v_1 + 2 v_2 + 2 v_3 + v_4) / 6, u = x / (alpha + sigma), v = E[eps - x0]: the velocity of
rectified flow (Liu et al. 2023, arXiv:2209.03003, eq. 1)

Its last stage is at the end of the step, where the velocity is not defined if sigma_t = 0; every explicit method of
order 4 with four stages has such a stage (Butcher 2016, "Numerical methods for ordinary differential equations",
section 322). A step to sigma_t = 0 therefore uses Ralston's third-order method (1962, Math. Comp. 16), whose stages are
at 0, 1/2 and 3/4. Its local error is of fourth order in the step, so the whole solution keeps fourth order.
"""

from __future__ import annotations

from ._coefficients import first_order
from ._numbers import choose, some, where
from ._stages import drift, on_tau, velocity
from .base import PlanBuilder, PlannedSampler


class RK4(PlannedSampler):
    """The classical Runge-Kutta method in tau: fourth order; a reference rather than a method for few evaluations.

    u_t = u_s + (tau_t - tau_s) (v_1 + 2 v_2 + 2 v_3 + v_4) / 6, u = x / (alpha + sigma), v = E[eps - x0], with v_2 and
    v_3 at the midpoint and v_4 at t. To sigma_t = 0: (2 v_1 + 3 v_2 + 4 v_3) / 9 with v_3 at three quarters.

    Four evaluations per step, three in the step to sigma_t = 0; alpha_s = 0 needs no special case.
    """

    order = 4

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        halves = on_tau(builder, builder.pairs(), 0.5)
        lates = on_tau(builder, builder.pairs(), lambda s, t: where(t.sigma > 0, 0.5, 0.75))
        for (s, t), half, late in zip(builder.pairs(), halves, lates, strict=True):
            inside = t.sigma > 0
            D = builder.denoise(x)
            x_2 = builder.point(first_order(builder, x, D, s, half, half.sigma), half)
            v_1, v_2 = velocity(x, D, s), velocity(x_2, builder.denoise(x_2), half)
            x_3 = builder.point(drift(x, s, late, v_2), late)
            v_3 = velocity(x_3, builder.denoise(x_3), late)
            v = (v_1 * 2 + v_2 * 3 + v_3 * 4) / 9
            if some(inside):
                x_4 = builder.point(drift(x, s, t, v_3), t)
                v_4 = velocity(x_4, builder.denoise(x_4), t)
                v = choose(inside, (v_1 + v_2 * 2 + v_3 * 2 + v_4) / 6, v)
            x = builder.step(drift(x, s, t, v), t)
