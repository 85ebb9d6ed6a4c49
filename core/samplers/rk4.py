"""The classical Runge-Kutta method (Kutta 1901) in the bounded time tau = sigma / (alpha + sigma): a reference method.

u_t = u_s + (tau_t - tau_s) (v_1 + 2 v_2 + 2 v_3 + v_4) / 6, u = x / (alpha + sigma), v = E[eps - x0]: the velocity of
rectified flow (Liu et al. 2023, arXiv:2209.03003, eq. 1)

Its last stage is at the end of the step, where the velocity is not defined if sigma_t = 0; every explicit method of
order 4 with four stages has such a stage (Butcher 2016, "Numerical methods for ordinary differential equations",
section 322). A step to sigma_t = 0 therefore uses Ralston's third-order method (1962, Math. Comp. 16), whose stages are
at 0, 1/2 and 3/4. Its local error is of fourth order in the step, so the whole solution keeps fourth order.
"""

from __future__ import annotations

from ._coefficients import first_order_step
from ._numbers import any_true, select_by_mask, select_combination
from ._stages import flow_velocity, stage_levels_in_tau, velocity_step
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
        halves = stage_levels_in_tau(builder, builder.pairs(), 0.5)
        lates = stage_levels_in_tau(builder, builder.pairs(), lambda s, t: select_by_mask(t.sigma > 0, 0.5, 0.75))
        for (s, t), half, late in zip(builder.pairs(), halves, lates, strict=True):
            inside = t.sigma > 0
            D = builder.denoise(x)
            x_2 = builder.point(first_order_step(builder, x, D, s, half, half.sigma), half)
            v_1, v_2 = flow_velocity(x, D, s), flow_velocity(x_2, builder.denoise(x_2), half)
            x_3 = builder.point(velocity_step(x, s, late, v_2), late)
            v_3 = flow_velocity(x_3, builder.denoise(x_3), late)
            v = (v_1 * 2 + v_2 * 3 + v_3 * 4) / 9
            if any_true(inside):
                x_4 = builder.point(velocity_step(x, s, t, v_3), t)
                v_4 = flow_velocity(x_4, builder.denoise(x_4), t)
                v = select_combination(inside, (v_1 + v_2 * 2 + v_3 * 2 + v_4) / 6, v)
            x = builder.step(velocity_step(x, s, t, v), t)
