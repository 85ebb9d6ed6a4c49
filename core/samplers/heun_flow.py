"""Heun's method on the velocity: the trapezoidal rule in the time tau = sigma / (alpha + sigma) of rectified flow.

u_t = u_s + (tau_t - tau_s) (v_s + v_t) / 2, u = x / (alpha + sigma)

In the variables of Liu et al. 2023 (arXiv:2209.03003, eq. 1), where the ODE is dx/dt = v(x, t) with t = tau; on
every schedule.
"""

from __future__ import annotations

from ._coefficients import first_order_step
from ._numbers import any_true
from ._stages import flow_velocity
from .base import PlanBuilder, PlannedSampler


class HeunFlow(PlannedSampler):
    """Heun's method on the velocity of rectified flow: the mean of v at both ends of a step in tau; second order.

    u_t = u_s + (tau_t - tau_s) (v_s + v_t) / 2, u = x / (alpha + sigma), v = E[eps - x0], where v_t is the velocity at
    the Euler point at t.

    Regular at alpha_s = 0, so the first step from pure noise is also of second order. Two evaluations per step; the
    step to sigma_t = 0, where v is not defined, is an Euler step with one evaluation.
    """

    order = 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for s, t in builder.pairs():
            D = builder.denoise(x)
            euler, inside = first_order_step(builder, x, D, s, t, t.sigma), t.sigma > 0
            if not any_true(inside):
                x = builder.step(euler, t)
                continue
            v = flow_velocity(x, D, s)
            x = builder.point(euler, t)
            half = (t.alpha + t.sigma) * (t.tau - s.tau) / 2
            x = builder.step(x + ((flow_velocity(x, builder.denoise(x), t) - v) * half).masked(inside), t)
