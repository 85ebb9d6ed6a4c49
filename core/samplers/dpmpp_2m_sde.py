"""SDE-DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, appendix; midpoint form), with eta as in k-diffusion.

x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t (1 - e^(-(1 + eta) h)) (D + dD/dr / 2) + n z
"""

from __future__ import annotations

import numpy as np

from ..types import BadInput
from ._coefficients import first_order_step, lambda_step
from ._exponential import higher_order_terms
from ._noise_keys import NoiseKind, check_noise_kind, step_noise_keys
from ._shared_steps import kept_noise_share
from .base import PlanBuilder, PlannedSampler


class DPMpp2MSDE(PlannedSampler):
    """The stochastic DPM-Solver++(2M): uses the last two estimates and draws noise at every step.

    x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t (1 - e^(-(1 + eta) h)) (D + dD/dr / 2) + n z,
    n = sigma_t sqrt(1 - e^(-2 eta h)), h = lambda_t - lambda_s; the slope in r = (lambda - lambda_s) / h is computed
    from the last two estimates.

    Args:
        eta: Strength of the noise: 0 is dpmpp_2m, 1 is the reverse SDE.
        noise: `path`: increments of one Brownian path in tau, so a seed gives the same noise path at any number of
            steps; `step`: independent noise at every step.
    """

    def __init__(self, eta: float = 1.0, noise: NoiseKind = "path"):
        if eta < 0:
            raise BadInput(f"dpmpp_2m_sde's eta is at least 0, not {eta}")
        check_noise_kind("dpmpp_2m_sde", noise)
        self.eta, self.noise, self.stochastic = eta, noise, eta > 0
        self.order = None if self.stochastic else 2

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes = builder.start(), []
        for (s, t), key in zip(builder.pairs(), step_noise_keys(builder.levels, self.noise), strict=True):
            D = builder.denoise(x)
            nodes = [(s, D), *nodes[:1]]
            h = lambda_step(s, t)
            psi0 = -np.expm1(-(1 + self.eta) * h)
            first = first_order_step(builder, x, D, s, t, t.sigma * kept_noise_share(self.eta, h), key)
            x = builder.step(first + higher_order_terms(s, t, nodes, [psi0, psi0 / 2]), t)
