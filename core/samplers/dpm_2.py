"""DPM-2: the midpoint rule in rho = sigma / alpha; k-diffusion's `sample_dpm_2`, here on every schedule.

x_t / alpha_t = x_s / alpha_s + (rho_t - rho_s) eps_m, rho_m = sqrt(rho_s rho_t)

The midpoint is that of DPM-Solver-2 (Lu et al. 2022, arXiv:2206.00927, algorithm 1); the step is Euler's in rho, as in
Karras et al. 2022 (arXiv:2206.00364, algorithm 1), with the slope at the midpoint.
"""

from __future__ import annotations

from ._coefficients import first_order_step
from ._numbers import any_true
from ._stages import has_finite_lambda, stage_levels_in_lambda
from .base import PlanBuilder, PlannedSampler


class DPM2(PlannedSampler):
    """DPM-2: a step in rho with the noise estimate at the geometric mean of rho; second order.

    x_t / alpha_t = x_s / alpha_s + (rho_t - rho_s) eps_m, eps_m = (x_m - alpha_m D_m) / sigma_m, where x_m is the
    result of an Euler step to rho_m = sqrt(rho_s rho_t).

    Two evaluations per step. Steps from alpha_s = 0 or to sigma_t = 0, where the geometric mean does not exist, are
    Euler steps with one evaluation.
    """

    order = 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        middles = stage_levels_in_lambda(builder, builder.pairs(), 0.5, else_on_tau=0.5)
        for (s, t), m in zip(builder.pairs(), middles, strict=True):
            D, inside = builder.denoise(x), has_finite_lambda(s, t)
            euler = first_order_step(builder, x, D, s, t, t.sigma)
            if not any_true(inside):
                x = builder.step(euler, t)
                continue
            eps = (x - D * s.alpha) / s.sigma
            x_m = builder.point(first_order_step(builder, x, D, s, m, m.sigma), m)
            eps_m = (x_m - builder.denoise(x_m) * m.alpha) / m.sigma
            x = builder.step(euler + ((eps_m - eps) * (t.alpha * (t.rho - s.rho))).masked(inside), t)
