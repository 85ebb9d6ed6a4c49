"""DPM-Solver++(2S) with ancestral noise: one step of second order to below the target, then noise up to it.

The form of k-diffusion's `sample_dpmpp_2s_ancestral` (Lu et al. 2022, arXiv:2211.01095, algorithm 1; noise of Song et
al. 2021, arXiv:2011.13456, eq. 47), restated on rho so that it keeps the marginal on every schedule.
"""

from __future__ import annotations

import torch

from ..types import BadInput
from ._coefficients import first_order, log_step
from ._moves import below, fresh
from ._paths import Kind, check_noise, step_keys
from ._stages import on_lambda
from .base import PlanBuilder, Sampler


class DPMpp2SAncestral(Sampler):
    """DPM-Solver++(2S) to below the target, then fresh noise up to it.

    x_d = (sigma_d / sigma_s) x_s + alpha_t (1 - e^-h) (D_s + (D_m - D_s) / (2 r)), h = lambda_d - lambda_s, D_m made at
    lambda_s + r h; x_t = x_d + sqrt(sigma_t^2 - sigma_d^2) z, sigma_d = sigma_t sqrt(1 - eta^2 (1 - q^2)), q = rho_t /
    rho_s. Two evaluations a step; one where sigma_d = 0: at the last step, and from alpha_s = 0 with eta = 1.

    eta:   share of fresh noise: 0 is dpmpp_2s, 1 fully ancestral
    r:     where the estimate inside the step is made, as a share of the step in lambda
    noise: step (fresh at every step), or path (what a Brownian path on tau gains, the same at any number of steps)
    """

    def __init__(self, eta: float = 1.0, r: float = 0.5, noise: Kind = "step"):
        if not 0 <= eta <= 1:
            raise BadInput(f"dpmpp_2s_ancestral's eta lies between 0 (dpmpp_2s) and 1 (ancestral), not {eta}")
        if not 0 < r < 1:
            raise BadInput(f"dpmpp_2s_ancestral makes an estimate inside the step: r lies between 0 and 1, not {r}")
        check_noise("dpmpp_2s_ancestral", noise)
        self.eta, self.r, self.noise, self.stochastic = eta, r, noise, eta > 0
        self.order = None if self.stochastic else 2

    def draft(self, draft: PlanBuilder) -> None:
        x = draft.start()
        for (s, t), key in zip(draft.pairs(), step_keys(draft.levels, self.noise), strict=True):
            d = below(s, t, self.eta)
            D, inside = draft.denoise(x), d.sigma > 0
            made = first_order(draft, x, D, s, d, d.sigma)
            if bool(inside.any()):
                m = on_lambda(draft.schedule, s, d, self.r, else_on_tau=self.r)
                D_m = draft.denoise(draft.point(first_order(draft, x, D, s, m, m.sigma), m))
                weight = -torch.expm1(-log_step(s, d)) / (2 * self.r)
                made = made + (t.alpha * weight * (D_m - D)).where(inside)
            x = draft.step(made + fresh(d, t) * draft.noise(key), t)
