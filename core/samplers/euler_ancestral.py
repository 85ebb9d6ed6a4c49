"""Euler's method with ancestral noise (Song et al. 2021, arXiv:2011.13456, eq. 47): below the target, then noise.

rho_up = eta rho_t sqrt(1 - (rho_t / rho_s)^2), rho_down^2 = rho_t^2 - rho_up^2

The form of k-diffusion's `sample_euler_ancestral`, restated in rho so that it keeps the marginal on every schedule,
including flow, where adding noise also scales down the data.
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order_step
from ._numbers import safe_sqrt
from .base import PlanBuilder, PlannedSampler


class EulerAncestral(PlannedSampler):
    """Euler's step to a level below the target, then new noise up to the target.

    Down to rho_down, up by rho_up = eta rho_t sqrt(1 - (rho_t / rho_s)^2), where rho_down^2 = rho_t^2 - rho_up^2. In a
    step from alpha_s = 0 with eta = 1 all noise is new.

    Args:
        eta: Share of new noise: 0 is Euler, 1 is fully ancestral.
    """

    def __init__(self, eta: float = 1.0):
        if not 0 <= eta <= 1:
            raise BadInput(f"euler_ancestral's eta lies between 0 (Euler) and 1 (ancestral), not {eta}")
        self.eta, self.stochastic = eta, eta > 0
        self.order = None if self.stochastic else 1

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for i, (s, t) in enumerate(builder.pairs()):
            falls = t.rho * (s.alpha / s.sigma)  # rho_t / rho_s, 0 where alpha_s = 0
            up = self.eta * t.rho * safe_sqrt(1 - falls * falls)
            down = safe_sqrt(t.rho * t.rho - up * up)
            x = builder.step(first_order_step(builder, x, builder.denoise(x), s, t, t.alpha * down, ("step", i)), t)
