"""The explicit midpoint rule (Runge 1895) in the bounded time tau = sigma / (alpha + sigma).

u_t = u_s + (tau_t - tau_s) v_m, u = x / (alpha + sigma), v = E[eps - x0]: the velocity of rectified flow (Liu, Gong and
Liu 2023, arXiv:2209.03003, eq. 1)
"""

from __future__ import annotations

from ._coefficients import first_order_step
from ._stages import flow_velocity, stage_levels_in_tau, velocity_step
from .base import PlanBuilder, PlannedSampler


class Midpoint(PlannedSampler):
    """The midpoint rule in tau: a step with the velocity at its midpoint; second order, two evaluations per step.

    u_t = u_s + (tau_t - tau_s) v_m, u = x / (alpha + sigma), v = E[eps - x0], where v_m is the velocity at the Euler
    point at tau_m = (tau_s + tau_t) / 2.

    Neither end of the interval needs a special case: v is regular at alpha_s = 0, and the step to sigma_t = 0 becomes
    x_t = 2 D_m - D_s.
    """

    order = 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        middles = stage_levels_in_tau(builder, builder.pairs(), 0.5)
        for (s, t), m in zip(builder.pairs(), middles, strict=True):
            x_m = builder.point(first_order_step(builder, x, builder.denoise(x), s, m, m.sigma), m)
            x = builder.step(velocity_step(x, s, t, flow_velocity(x_m, builder.denoise(x_m), m)), t)
