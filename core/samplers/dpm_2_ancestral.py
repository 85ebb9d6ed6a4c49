"""DPM-2 with ancestral noise: the midpoint rule to a level below the target, then noise up to the target.

x_d / alpha_t = x_s / alpha_s + (rho_d - rho_s) eps_m, x_t = x_d + sqrt(sigma_t^2 - sigma_d^2) z

The form of k-diffusion's `sample_dpm_2_ancestral` (DPM-Solver-2, Lu et al. 2022, arXiv:2206.00927, algorithm 1; noise
of Song et al. 2021, arXiv:2011.13456, eq. 47), restated in rho so that it keeps the marginal on every schedule.
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order_step
from ._noise_keys import NoiseKind, check_noise_kind, step_noise_keys
from ._numbers import any_true
from ._shared_steps import added_noise_std, ancestral_level
from ._stages import has_finite_lambda, stage_levels_in_lambda
from .base import PlanBuilder, PlannedSampler


class DPM2Ancestral(PlannedSampler):
    """DPM-2 to a level below the target, then new noise up to the target.

    x_d / alpha_t = x_s / alpha_s + (rho_d - rho_s) eps_m, eps_m = (x_m - alpha_m D_m) / sigma_m, where x_m is the
    result of an Euler step to rho_m = sqrt(rho_s rho_d);
    x_t = x_d + sqrt(sigma_t^2 - sigma_d^2) z, sigma_d = sigma_t sqrt(1 - eta^2 (1 - q^2)), q = rho_t / rho_s

    Two evaluations per step. Steps from alpha_s = 0 or to sigma_t = 0 are Euler steps with one evaluation.

    Args:
        eta: Share of new noise: 0 is dpm_2, 1 is fully ancestral.
        noise: `path`: increments of one Brownian path in tau, so a seed gives the same noise path at any number of
            steps; `step`: independent noise at every step.
    """

    def __init__(self, eta: float = 1.0, noise: NoiseKind = "step"):
        if not 0 <= eta <= 1:
            raise BadInput(f"dpm_2_ancestral's eta lies between 0 (dpm_2) and 1 (ancestral), not {eta}")
        check_noise_kind("dpm_2_ancestral", noise)
        self.eta, self.noise, self.stochastic = eta, noise, eta > 0
        self.order = None if self.stochastic else 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        lows = [ancestral_level(s, t, self.eta) for s, t in builder.pairs()]
        middles = stage_levels_in_lambda(builder, zip(builder.levels, lows, strict=False), 0.5, else_on_tau=0.5)
        keys = step_noise_keys(builder.levels, self.noise)
        for (s, t), d, m, key in zip(builder.pairs(), lows, middles, keys, strict=True):
            D, inside = builder.denoise(x), has_finite_lambda(s, d)
            x_d = first_order_step(builder, x, D, s, d, d.sigma)
            if any_true(inside):
                eps = (x - D * s.alpha) / s.sigma
                x_m = builder.point(first_order_step(builder, x, D, s, m, m.sigma), m)
                eps_m = (x_m - builder.denoise(x_m) * m.alpha) / m.sigma
                x_d = x_d + ((eps_m - eps) * (t.alpha * (d.rho - s.rho))).masked(inside)
            x = builder.step(x_d + builder.noise(key) * added_noise_std(d, t), t)
