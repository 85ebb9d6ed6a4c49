"""DDIM with eta (Song et al. 2021, arXiv:2010.02502, eq. 12 and 16), in x0 space.

eta = 0 is the deterministic method, which is also Euler's step on VE, EDM and flow; eta = 1 is ancestral sampling.
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order
from ._numbers import root
from .base import PlanBuilder, PlannedSampler


class DDIM(PlannedSampler):
    """DDIM: a first-order step that keeps sigma_d of its noise and draws the rest anew.

    sigma_d = sigma_t sqrt(1 - eta^2 (1 - q^2)), q = sigma_t alpha_s / (alpha_t sigma_s)

    Args:
        eta: Share of fresh noise: 0 deterministic, 1 ancestral.
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
            kept = t.sigma * root(1 - self.eta * self.eta * (1 - q * q))
            x = builder.step(first_order(builder, x, builder.denoise(x), s, t, kept, ("step", i)), t)
