"""BELM (Wang et al. 2024, arXiv:2410.07273, eq. 18, "O-BELM"): a two-step method that can be inverted exactly.

With u = x / (alpha + sigma), tau = sigma / (alpha + sigma) and the velocity v of du/dtau = v, the points at levels p, s
and t, and the ratio of steps r = (tau_t - tau_s) / (tau_s - tau_p),

    u_t = r^2 u_p + (1 - r^2) u_s + (1 + r) (tau_t - tau_s) v_s

These are the coefficients of the smallest local error, O(step^3). v is evaluated at the middle point only, so the same
relation gives u_p from u_s and u_t: editing/exact_inversion.py. The paper has x / alpha and sigma / alpha instead of u
and tau; there the first step from alpha = 0 would lose the point that it starts from.

BDIA (Zhang et al. 2023, arXiv:2307.10829) has r = 1 for all steps. It is of second order for equal steps only.
"""

from __future__ import annotations

import numpy as np

from ._numbers import select_by_mask
from ._stages import flow_velocity
from .base import PlanBuilder, PlannedSampler
from .plan import LinearCombination, PlanLevel


class BELM(PlannedSampler):
    """BELM: the next point from the last two points and one velocity; second order, and exactly invertible.

    u_t = r^2 u_p + (1 - r^2) u_s + (1 + r) (tau_t - tau_s) v_s, u = x / (alpha + sigma), v = E[eps - x0],
    r = (tau_t - tau_s) / (tau_s - tau_p)

    The first step, which has no earlier point, is Euler's (r = 0). `sonolux edit RUN reprompt` uses the inverse.
    """

    order = 2

    def draft(self, builder: PlanBuilder) -> None:
        x = before = builder.start()
        p = builder.levels[0]
        for s, t in builder.pairs():
            new = builder.step(two_step_point(builder, before, x, p, s, t), t)
            p, before, x = s, x, new


def two_step_point(
    builder: PlanBuilder, before: LinearCombination, x: LinearCombination, p: PlanLevel, s: PlanLevel, t: PlanLevel
) -> LinearCombination:
    """The point at t from the points `before` at p and x at s, in either direction of tau; Euler's step if p is s."""
    step, last = t.tau - s.tau, s.tau - p.tau
    first = last == 0
    r = select_by_mask(first, 0.0, step / select_by_mask(first, np.float64(1.0), last))
    u_p, u_s = before / (p.alpha + p.sigma), x / (s.alpha + s.sigma)
    v = flow_velocity(x, builder.denoise(x), s)
    return (u_p * (r * r) + u_s * (1 - r * r) + v * ((1 + r) * step)) * (t.alpha + t.sigma)
