"""DEIS (Zhang and Chen 2023, arXiv:2204.13902, eq. 14 and 15) with polynomials in log rho, rho = sigma / alpha.

In y = x / alpha the probability-flow ODE is dy/drho = eps(y, rho). The noise estimates are extrapolated by a polynomial
in log rho, in which they vary evenly, and that is integrated exactly over rho.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..types import BadInput
from ._coefficients import first_order, log_step
from ._exponential import newton
from .base import PlanBuilder, Sampler

_SERIES = 24  # terms; at h < 1 the rest is below 1e-24


class DEIS(Sampler):
    """DEIS: noise estimates extrapolated in log rho and integrated exactly in rho; one evaluation a step.

    x_t = alpha_t (x_s / alpha_s + sum_j C_j eps_j), C_j = int_(rho_s)^(rho_t) l_j(log rho) drho with l_j the Lagrange
    polynomials in log rho, eps = (x - alpha D) / sigma. The order rises with the history. From alpha_s = 0, where rho
    is infinite, the step is of first order, and that estimate does not count later; the integral to sigma_t = 0 is
    finite and the step of full order.

    order: estimates a step is made from, 1 to 3, which is the order of convergence
    """

    def __init__(self, order: int = 3):
        if order not in (1, 2, 3):
            raise BadInput(f"deis's order is 1, 2 or 3, not {order}")
        self.order = self.nodes = order

    def draft(self, draft: PlanBuilder) -> None:
        x, nodes = draft.start(), []
        for s, t in draft.pairs():
            D = draft.denoise(x)
            nodes = [(s, (x - s.alpha * D) / s.sigma), *nodes][: self.nodes]
            q = [log_step(s, level) for level, _ in nodes]  # log rho_s - log rho
            h = log_step(s, t)
            moments = [-s.rho * gamma for gamma in _gammas(h, self.nodes)]
            rest = newton(q, [eps for _, eps in nodes], moments)
            x = draft.step(first_order(draft, x, D, s, t, t.sigma) + t.alpha * rest, t)


def _gammas(h: Tensor, count: int) -> list[Tensor]:
    """[int_0^h q^k e^-q dq for k < count], the integrals of q^k over rho / rho_s = e^-q; k! at h = inf.

    Where k! - e^-h h^k (...) would cancel, e^-h h^(k + 1) / (k + 1) (1 + h / (k + 2) (1 + h / (k + 3) (...))).
    """
    made = [-torch.expm1(-h)]
    for k in range(1, count):
        power = torch.where(torch.isinf(h), 0.0, math.prod([h] * k) * torch.exp(-h))
        series = torch.ones_like(h)
        for m in range(_SERIES, 0, -1):
            series = 1 + series * h / (k + 1 + m)
        made.append(torch.where(h.abs() < 1, series * h * power / (k + 1), k * made[-1] - power))
    return made
