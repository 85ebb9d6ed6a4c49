"""ER-SDE-Solver: extended reverse-time SDEs (Cui et al. 2023, arXiv:2309.06169, proposition 3 and algorithms 1 to 3).

In y = x / alpha and rho = sigma / alpha, a function phi says how fast noise is replaced, and D(rho) is a polynomial:

    y_t = phi_t / phi_s y_s + phi_t int_(rho_t)^(rho_s) phi' / phi^2 D d rho + sqrt(rho_t^2 - (rho_s phi_t / phi_s)^2) z

The paper's third order takes D' from the last two estimates alone and has therefore order 2; here all three count.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..schedulers.base import NoiseLevel64
from ..types import BadInput
from ._coefficients import first_order
from ._exponential import newton
from ._paths import Kind, check_noise, step_keys
from .base import PlanBuilder, Sampler

_NODES, _WEIGHTS = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(48))


class ERSDE(Sampler):
    """ER-SDE-Solver, order 1 to 3: between the ODE and the reverse SDE, little noise where levels are low.

    phi = er: rho (e^(rho^0.3) + 10), the paper's choice; ode: rho, without noise; sde: rho^2, the reverse SDE. With
    r = (rho - rho_s) / (rho_t - rho_s), r^k integrates to 1 - k phi_t int_(rho_t)^(rho_s) r^(k - 1) / phi d rho /
    (rho_s - rho_t), by Gauss-Legendre quadrature in log rho. One evaluation a step; the order rises with the history,
    an estimate at alpha = 0 does not count, and the step to sigma_t = 0 is of first order.

    phi:   er, ode or sde
    order: estimates used: 1, 2 or 3
    noise: path (what a Brownian path on tau gains, the same at any number of steps), or step (fresh at every step)
    """

    def __init__(self, phi: Literal["er", "ode", "sde"] = "er", order: int = 3, noise: Kind = "path"):
        if phi not in ("er", "ode", "sde"):
            raise BadInput(f"er_sde's phi is er, ode or sde, not {phi!r}")
        if order not in (1, 2, 3):
            raise BadInput(f"er_sde's order is 1, 2 or 3, not {order}")
        check_noise("er_sde", noise)
        self.phi, self.history, self.noise, self.stochastic = phi, order, noise, phi != "ode"
        self.order = None if self.stochastic else order

    def draft(self, draft: PlanBuilder) -> None:
        x, nodes = draft.start(), []
        for (s, t), key in zip(draft.pairs(), step_keys(draft.levels, self.noise), strict=True):
            D = draft.denoise(x)
            nodes = [(s, D), *nodes][: self.history]
            kept = t.sigma * torch.exp(self._steepness(t.rho) - self._steepness(s.rho))
            made, span = first_order(draft, x, D, s, t, kept, key), t.rho - s.rho
            r = [(level.rho - s.rho) / span for level, _ in nodes]
            usable = (s.alpha > 0) & (t.sigma > 0) & (span != 0)
            moments = [torch.zeros_like(span), *(self._moment(s, t, k) for k in range(1, len(nodes)))]
            x = draft.step(made + t.alpha * newton(r, [D for _, D in nodes], moments, usable), t)

    def _steepness(self, rho: Tensor) -> Tensor:
        """log(phi / rho): it grows with rho, and its fall is the share of noise that is replaced."""
        if self.phi == "ode":
            return torch.zeros_like(rho)
        if self.phi == "sde":
            return torch.log(rho)
        power = torch.exp(0.3 * torch.log(rho))
        return power + torch.log1p(10 * torch.exp(-power))

    def _moment(self, s: NoiseLevel64, t: NoiseLevel64, k: int) -> Tensor:
        """phi_t int phi' / phi^2 r^k d rho, k >= 1."""
        low, length = torch.log(t.rho), torch.log(s.rho / t.rho)
        node, weight = (array.reshape(-1, *[1] * length.ndim) for array in (_NODES, _WEIGHTS))
        rho = torch.exp(low + length * ((node + 1) / 2))
        inside = weight / 2 * torch.exp(self._steepness(t.rho) - self._steepness(rho))
        for _ in range(k - 1):
            inside = inside * (s.rho - rho) / (s.rho - t.rho)
        return 1 - k * t.rho * length / (s.rho - t.rho) * _sum(inside)


def _sum(values: Tensor) -> Tensor:
    """The sum over the first axis, (48, ...), halves upon halves: in the same order for a number and a map."""
    while len(values) % 2 == 0:
        values = values[: len(values) // 2] + values[len(values) // 2 :]
    return values[0] + values[1] + values[2]
