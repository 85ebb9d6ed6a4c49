"""DPM-Solver++(2S) with ancestral noise: a second-order step to a level below the target, then noise up to the target.

x_d = (sigma_d / sigma_s) x_s + alpha_t (1 - e^-h) (D_s + (D_m - D_s) / (2 r)), x_t = x_d + sqrt(sigma_t^2 - sigma_d^2)
z

The form of k-diffusion's `sample_dpmpp_2s_ancestral` (Lu et al. 2022, arXiv:2211.01095, algorithm 1; noise of Song et
al. 2021, arXiv:2011.13456, eq. 47), restated in rho so that it keeps the marginal on every schedule.
"""

from __future__ import annotations

import numpy as np

from ..types import BadInput
from ._coefficients import first_order_step, lambda_step
from ._noise_keys import NoiseKind, check_noise_kind, step_noise_keys
from ._numbers import any_true
from ._shared_steps import added_noise_std, ancestral_level
from ._stages import stage_levels_in_lambda
from .base import PlanBuilder, PlannedSampler


class DPMpp2SAncestral(PlannedSampler):
    """DPM-Solver++(2S) to a level below the target, then new noise up to the target.

    x_d = (sigma_d / sigma_s) x_s + alpha_t (1 - e^-h) (D_s + (D_m - D_s) / (2 r)), h = lambda_d - lambda_s, where D_m
    is the estimate at lambda_s + r h;
    x_t = x_d + sqrt(sigma_t^2 - sigma_d^2) z, sigma_d = sigma_t sqrt(1 - eta^2 (1 - q^2)), q = rho_t / rho_s

    Two evaluations per step; one where sigma_d = 0: in the last step, and from alpha_s = 0 with eta = 1.

    Args:
        eta: Share of new noise: 0 is dpmpp_2s, 1 is fully ancestral.
        r: Position of the estimate inside the step, as a fraction of the step in lambda.
        noise: `path`: increments of one Brownian path in tau, so a seed gives the same noise path at any number of
            steps; `step`: independent noise at every step.
    """

    def __init__(self, eta: float = 1.0, r: float = 0.5, noise: NoiseKind = "step"):
        if not 0 <= eta <= 1:
            raise BadInput(f"dpmpp_2s_ancestral's eta lies between 0 (dpmpp_2s) and 1 (ancestral), not {eta}")
        if not 0 < r < 1:
            raise BadInput(f"dpmpp_2s_ancestral evaluates inside the step: r lies between 0 and 1, not {r}")
        check_noise_kind("dpmpp_2s_ancestral", noise)
        self.eta, self.r, self.noise, self.stochastic = eta, r, noise, eta > 0
        self.order = None if self.stochastic else 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        lows = [ancestral_level(s, t, self.eta) for s, t in builder.pairs()]
        middles = stage_levels_in_lambda(builder, zip(builder.levels, lows, strict=False), self.r, else_on_tau=self.r)
        keys = step_noise_keys(builder.levels, self.noise)
        for (s, t), d, m, key in zip(builder.pairs(), lows, middles, keys, strict=True):
            D, inside = builder.denoise(x), d.sigma > 0
            x_d = first_order_step(builder, x, D, s, d, d.sigma)
            if any_true(inside):
                D_m = builder.denoise(builder.point(first_order_step(builder, x, D, s, m, m.sigma), m))
                weight = -np.expm1(-lambda_step(s, d)) / (2 * self.r)
                x_d = x_d + ((D_m - D) * (t.alpha * weight)).masked(inside)
            x = builder.step(x_d + builder.noise(key) * added_noise_std(d, t), t)
