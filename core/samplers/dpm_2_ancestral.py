"""DPM-2 with ancestral noise: the midpoint rule to a level below the target, then noise up to the target.

x_d / alpha_t = x_s / alpha_s + (rho_d - rho_s) eps_m, x_t = x_d + sqrt(sigma_t^2 - sigma_d^2) z

The form of k-diffusion's `sample_dpm_2_ancestral` (DPM-Solver-2, Lu et al. 2022, arXiv:2206.00927, algorithm 1; noise
of Song et al. 2021, arXiv:2011.13456, eq. 47), restated in rho so that it keeps the marginal on every schedule.
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order
from ._moves import added_noise, below
from ._numbers import some
from ._paths import Kind, check_noise, step_keys
from ._stages import on_lambda, regular
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

    def __init__(self, eta: float = 1.0, noise: Kind = "step"):
        if not 0 <= eta <= 1:
            raise BadInput(f"dpm_2_ancestral's eta lies between 0 (dpm_2) and 1 (ancestral), not {eta}")
        check_noise("dpm_2_ancestral", noise)
        self.eta, self.noise, self.stochastic = eta, noise, eta > 0
        self.order = None if self.stochastic else 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        lows = [below(s, t, self.eta) for s, t in builder.pairs()]
        middles = on_lambda(builder, zip(builder.levels, lows, strict=False), 0.5, else_on_tau=0.5)
        keys = step_keys(builder.levels, self.noise)
        for (s, t), d, m, key in zip(builder.pairs(), lows, middles, keys, strict=True):
            D, inside = builder.denoise(x), regular(s, d)
            x_d = first_order(builder, x, D, s, d, d.sigma)
            if some(inside):
                eps = (x - D * s.alpha) / s.sigma
                x_m = builder.point(first_order(builder, x, D, s, m, m.sigma), m)
                eps_m = (x_m - builder.denoise(x_m) * m.alpha) / m.sigma
                x_d = x_d + ((eps_m - eps) * (t.alpha * (d.rho - s.rho))).where(inside)
            x = builder.step(x_d + builder.noise(key) * added_noise(d, t), t)
