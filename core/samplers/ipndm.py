"""iPNDM: PNDM (Liu et al. 2022, arXiv:2202.09778, eq. 12) without its Runge-Kutta start.

x_t = alpha_t (x_s / alpha_s + (rho_t - rho_s) sum_j w_j eps_j)

From Zhang and Chen 2023 (arXiv:2204.13902, appendix). The noise estimate in DDIM's step is replaced by a combination of
the last estimates with the Adams-Bashforth weights of equal steps: 3/2, -1/2, or 23/12, -16/12, 5/12, or 55/24, -59/24,
37/24, -9/24. In Newton's form these are the integrals of the polynomial through estimates at r = 0, -1, -2, -3 over a
step of length 1.
"""

from __future__ import annotations

import numpy as np

from ..types import BadInput
from ._coefficients import first_order_step
from ._exponential import newton_integral
from ._numbers import select_by_mask
from .base import PlanBuilder, PlannedSampler
from .plan import Float64


class IPNDM(PlannedSampler):
    """iPNDM: DDIM's step with fixed Adams-Bashforth weights on the last noise estimates; one evaluation per step.

    x_t = alpha_t (x_s / alpha_s + (rho_t - rho_s) sum_j w_j eps_j), eps = (x - alpha D) / sigma, rho = sigma / alpha

    The weights are those of equal steps in rho, where the order is the number of estimates; on other smoothly varying
    steps the order is 2, on irregular steps 1 (lms has the weights for any steps). The number of estimates grows to its
    limit during the first steps. A step from alpha_s = 0, where rho is infinite, is of first order, and its estimate is
    not used later.

    Args:
        estimates: Number of noise estimates in a step, 1 to 4; 1 is ddim.
    """

    order = 1

    def __init__(self, estimates: int = 4):
        if estimates not in (1, 2, 3, 4):
            raise BadInput(f"ipndm takes 1, 2, 3 or 4 estimates, not {estimates}")
        self.estimates = estimates

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes = builder.start(), []
        for s, t in builder.pairs():
            D = builder.denoise(x)
            nodes = [(s, (x - D * s.alpha) / s.sigma), *nodes][: self.estimates]
            rho, width = [level.rho for level, _ in nodes], t.rho - s.rho
            r: list[Float64] = [0.0]
            for j in range(1, len(nodes)):  # a repeated 0 is left out: at alpha = 0, and where the level is unchanged
                r.append(select_by_mask(np.isfinite(rho[j]) & (rho[j] > rho[j - 1]), -float(j), 0.0))
            moments = [width / (k + 1) for k in range(self.estimates)]
            rest = newton_integral(r, [eps for _, eps in nodes], moments, scale=t.alpha)
            x = builder.step(first_order_step(builder, x, D, s, t, t.sigma) + rest, t)
