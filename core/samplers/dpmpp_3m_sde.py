"""SDE-DPM-Solver++(3M): the reverse SDE from the last three estimates, with the weights of third order.

x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t int_0^1 H e^(-H (1 - r)) D(r) dr + n z, H = (1 + eta) h

The exponential integrator of Lu et al. 2022 (arXiv:2211.01095, eq. 8 and appendix, for the SDE), as in Gonzalez et al.
2023 (arXiv:2305.14267). In the widely used implementation (k-diffusion's `sample_dpmpp_3m_sde`) the second derivative
has half its weight, which makes it a method of second order.
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order_step, lambda_step
from ._exponential import exponential_moments, higher_order_terms
from ._noise_keys import NoiseKind, check_noise_kind, step_noise_keys
from ._shared_steps import kept_noise_share
from .base import PlanBuilder, PlannedSampler


class DPMpp3MSDE(PlannedSampler):
    """The stochastic DPM-Solver++(3M): uses the last three estimates, one evaluation per step.

    x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t int_0^1 H e^(-H (1 - r)) D(r) dr + n z, h = lambda_t - lambda_s,
    H = (1 + eta) h, n = sigma_t sqrt(1 - e^(-2 eta h)), where D(r) is the parabola in r = (lambda - lambda_s) / h
    through the last three estimates.

    The order grows with the number of stored estimates. The step to sigma_t = 0, where h is infinite, is of first
    order.

    Args:
        eta: Strength of the noise: 0 is dpmpp_3m, 1 is the reverse SDE.
        noise: `path`: increments of one Brownian path in tau, so a seed gives the same noise path at any number of
            steps; `step`: independent noise at every step.
    """

    def __init__(self, eta: float = 1.0, noise: NoiseKind = "path"):
        if eta < 0:
            raise BadInput(f"dpmpp_3m_sde's eta is at least 0, not {eta}")
        check_noise_kind("dpmpp_3m_sde", noise)
        self.eta, self.noise, self.stochastic = eta, noise, eta > 0
        self.order = None if self.stochastic else 3

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes = builder.start(), []
        for (s, t), key in zip(builder.pairs(), step_noise_keys(builder.levels, self.noise), strict=True):
            h, D = lambda_step(s, t), builder.denoise(x)
            nodes = [(s, D), *nodes[:2]]
            first = first_order_step(builder, x, D, s, t, t.sigma * kept_noise_share(self.eta, h), key)
            x = builder.step(first + higher_order_terms(s, t, nodes, exponential_moments((1 + self.eta) * h, 3)), t)
