"""DEIS (Zhang and Chen 2023, arXiv:2204.13902, eq. 14 and 15) with polynomials in log rho, rho = sigma / alpha.

x_t = alpha_t (x_s / alpha_s + sum_j C_j eps_j), C_j = int_(rho_s)^(rho_t) l_j(log rho) drho

In y = x / alpha the probability-flow ODE is dy/drho = eps(y, rho). The noise estimates are extrapolated by a polynomial
in log rho, where they vary smoothly, and the polynomial is integrated exactly over rho.
"""

from __future__ import annotations

import math

import numpy as np

from ..types import BadInput
from ._coefficients import first_order_step, lambda_step
from ._exponential import newton_integral
from ._numbers import select_by_mask
from .base import PlanBuilder, PlannedSampler
from .plan import Float64

_SERIES = 24  # terms; at h < 1 the rest is below 1e-24


class DEIS(PlannedSampler):
    """DEIS: noise estimates extrapolated in log rho, integrated exactly in rho; one evaluation per step.

    x_t = alpha_t (x_s / alpha_s + sum_j C_j eps_j), C_j = int_(rho_s)^(rho_t) l_j(log rho) drho, where l_j are the
    Lagrange polynomials in log rho and eps = (x - alpha D) / sigma.

    The order grows with the number of stored estimates. A step from alpha_s = 0, where rho is infinite, is of first
    order, and its estimate is not used later. The integral to sigma_t = 0 is finite, so the last step has full order.

    Args:
        order: Number of estimates in a step, 1 to 3; equals the order of convergence.
    """

    def __init__(self, order: int = 3):
        if order not in (1, 2, 3):
            raise BadInput(f"deis's order is 1, 2 or 3, not {order}")
        self.order = self.nodes = order

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes = builder.start(), []
        for s, t in builder.pairs():
            D = builder.denoise(x)
            nodes = [(s, (x - D * s.alpha) / s.sigma), *nodes][: self.nodes]
            q = [lambda_step(s, level) for level, _ in nodes]  # log rho_s - log rho
            h = lambda_step(s, t)
            moments = [-s.rho * gamma for gamma in _gammas(h, self.nodes)]
            rest = newton_integral(q, [eps for _, eps in nodes], moments, scale=t.alpha)
            x = builder.step(first_order_step(builder, x, D, s, t, t.sigma) + rest, t)


def _gammas(h: Float64, count: int) -> list[Float64]:
    """[int_0^h q^k e^-q dq for k < count]: the integrals of q^k over rho / rho_s = e^-q; k! at h = inf.

    Where k! - e^-h h^k (...) would cancel: e^-h h^(k + 1) / (k + 1) (1 + h / (k + 2) (1 + h / (k + 3) (...))).
    """
    made = [-np.expm1(-h)]
    for k in range(1, count):
        power = select_by_mask(np.isinf(h), 0.0, math.prod([h] * k) * np.exp(-h))
        series, small = 1.0, h if isinstance(h, np.ndarray) else float(h)
        for m in range(_SERIES, 0, -1):
            series = 1 + series * small / (k + 1 + m)
        made.append(select_by_mask(abs(h) < 1, series * h * power / (k + 1), k * made[-1] - power))
    return made
