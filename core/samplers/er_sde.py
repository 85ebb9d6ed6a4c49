"""ER-SDE-Solver: extended reverse-time SDEs (Cui et al. 2023, arXiv:2309.06169, proposition 3 and algorithms 1 to 3).

In y = x / alpha and rho = sigma / alpha, a function phi(rho) sets how fast noise is replaced, and D(rho) is a
polynomial:

    y_t = phi_t / phi_s y_s + phi_t int_(rho_t)^(rho_s) phi' / phi^2 D d rho + sqrt(rho_t^2 - (rho_s phi_t / phi_s)^2) z

The paper's third-order solver computes D' from the last two estimates only and therefore has order 2; here all three
estimates are used.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..types import BadInput
from ._coefficients import first_order_step
from ._exponential import newton_integral
from ._noise_keys import NoiseKind, check_noise_kind, step_noise_keys
from .base import PlanBuilder, PlannedSampler
from .plan import Float64, PlanLevel

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


class ERSDE(PlannedSampler):
    """ER-SDE-Solver, order 1 to 3: between the ODE and the reverse SDE, with little noise at low levels.

    phi = er: rho (e^(rho^0.3) + 10), the paper's choice; ode: rho, without noise; sde: rho^2, the reverse SDE. With r =
    (rho - rho_s) / (rho_t - rho_s), r^k integrates to 1 - k phi_t int_(rho_t)^(rho_s) r^(k - 1) / phi d rho / (rho_s -
    rho_t), by Gauss-Legendre quadrature in log rho.

    One evaluation per step. The order grows with the number of stored estimates, an estimate at alpha = 0 is not used,
    and the step to sigma_t = 0 is of first order.

    Args:
        phi: `er`, `ode` or `sde`.
        order: Number of estimates: 1, 2 or 3.
        noise: `path`: increments of one Brownian path in tau, so a seed gives the same noise path at any number of
            steps; `step`: independent noise at every step.
    """

    def __init__(self, phi: Literal["er", "ode", "sde"] = "er", order: int = 3, noise: NoiseKind = "path"):
        if phi not in ("er", "ode", "sde"):
            raise BadInput(f"er_sde's phi is er, ode or sde, not {phi!r}")
        if order not in (1, 2, 3):
            raise BadInput(f"er_sde's order is 1, 2 or 3, not {order}")
        check_noise_kind("er_sde", noise)
        self.phi, self.history, self.noise, self.stochastic = phi, order, noise, phi != "ode"
        self.order = None if self.stochastic else order

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes = builder.start(), []
        for (s, t), key in zip(builder.pairs(), step_noise_keys(builder.levels, self.noise), strict=True):
            D = builder.denoise(x)
            nodes = [(s, D), *nodes][: self.history]
            sigma_d = t.sigma * np.exp(self._steepness(t.rho) - self._steepness(s.rho))
            first, span = first_order_step(builder, x, D, s, t, sigma_d, key), t.rho - s.rho
            r = [(level.rho - s.rho) / span for level, _ in nodes]
            usable = (s.alpha > 0) & (t.sigma > 0) & (span != 0)
            moments = [0.0, *(self._moment(s, t, k) for k in range(1, len(nodes)))]
            x = builder.step(first + newton_integral(r, [D for _, D in nodes], moments, usable, scale=t.alpha), t)

    def _steepness(self, rho: Float64) -> Float64:
        """log(phi / rho): increases with rho; its decrease over a step sets the share of noise that is replaced."""
        if self.phi == "ode":
            return 0.0
        if self.phi == "sde":
            return np.log(rho)
        power = np.exp(0.3 * np.log(rho))
        return power + np.log1p(10 * np.exp(-power))

    def _moment(self, s: PlanLevel, t: PlanLevel, k: int) -> Float64:
        """phi_t int phi' / phi^2 r^k d rho, k >= 1."""
        low, length = np.log(t.rho), np.log(s.rho / t.rho)
        node, weight = (array.reshape(-1, *[1] * np.ndim(length)) for array in (_NODES, _WEIGHTS))
        rho = np.exp(low + length * ((node + 1) / 2))
        inside = weight / 2 * np.exp(self._steepness(t.rho) - self._steepness(rho))
        for _ in range(k - 1):
            inside = inside * (s.rho - rho) / (s.rho - t.rho)
        return 1 - k * t.rho * length / (s.rho - t.rho) * _sum(inside)


def _sum(values: Float64) -> Float64:
    """The sum over the first axis, (48, ...), by pairwise halving: the same order for a number and a map."""
    while len(values) % 2 == 0:
        values = values[: len(values) // 2] + values[len(values) // 2 :]
    return values[0] + values[1] + values[2]
