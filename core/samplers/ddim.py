"""DDIM (Song et al. 2021, arXiv:2010.02502, eq. 12 and 16), in x0 space.

x_t = alpha_t D + sqrt(sigma_t^2 - n^2) eps + n z, n = eta times the posterior's standard deviation

eta = 0 is the deterministic method, which equals Euler's method on VE, EDM and rectified flow; eta = 1 is ancestral
sampling (DDPM).
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order_step
from ._numbers import safe_sqrt
from .base import PlanBuilder, PlannedSampler


class DDIM(PlannedSampler):
    """DDIM: a first-order step that keeps the share sigma_d of the old noise and draws the rest.

    x_t = (sigma_d / sigma_s) x_s + (alpha_t - alpha_s sigma_d / sigma_s) D + sqrt(sigma_t^2 - sigma_d^2) z,
    sigma_d = sigma_t sqrt(1 - eta^2 (1 - q^2)), q = sigma_t alpha_s / (alpha_t sigma_s)

    Args:
        eta: Share of new noise: 0 is deterministic, 1 is ancestral.
    """

    def __init__(self, eta: float = 0.0):
        if not 0 <= eta <= 1:
            raise BadInput(f"ddim's eta lies between 0 (deterministic) and 1 (ancestral), not {eta}")
        self.eta, self.stochastic = eta, eta > 0
        self.order = None if self.stochastic else 1

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for i, (s, t) in enumerate(builder.pairs()):
            q = t.sigma * s.alpha / (t.alpha * s.sigma)
            sigma_d = t.sigma * safe_sqrt(1 - self.eta * self.eta * (1 - q * q))
            x = builder.step(first_order_step(builder, x, builder.denoise(x), s, t, sigma_d, ("step", i)), t)
