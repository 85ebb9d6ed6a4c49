"""Exponential integrators in lambda = log(alpha / sigma): one routine for every multistep method on estimates of x0.

With r = (lambda - lambda_s) / h running from 0 at s to 1 at t, H = (1 + eta) h, and D(r) the polynomial through known
estimates (the nodes), the reverse process is solved exactly (Lu et al. 2022, arXiv:2211.01095, eq. 8; Gonzalez et al.
2023, arXiv:2305.14267, for eta > 0):

    x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t int_0^1 H e^(-H (1 - r)) D(r) dr + n z
        = first-order step with D_0 + alpha_t sum_(k >= 1) m_k D[r_0, ..., r_k]

D[...] are Newton's divided differences and m_k = int_0^1 H e^(-H (1 - r)) r (r - r_1) ... (r - r_(k-1)) dr follow from
psi_k = int_0^1 H e^(-H (1 - r)) r^k dr. In Newton's form a node that cannot be used (alpha = 0, an element of a map
that kept its level, h infinite) takes only its own difference along, so the order falls gracefully and nothing is
divided by zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..schedulers.base import NoiseLevel64
from ._coefficients import Node, log_step
from .base import LinearCombination

_SERIES = 20  # terms; at |H| < 1 the rest is below 1e-19


def psi(H: Tensor, count: int) -> list[Tensor]:
    """[psi_0, ..., psi_(count - 1)], psi_k = int_0^1 H e^(-H (1 - r)) r^k dr, elementwise; 1 at H = inf.

    psi_0 = 1 - e^-H and psi_k = 1 - (k / H) psi_(k - 1); where that would cancel, H sum_m (-H)^m k! / (k + m + 1)!.
    """
    made, small = [-torch.expm1(-H)], H.abs() < 1
    for k in range(1, count):
        exact = 1 - k * made[-1] / H
        made.append(torch.where(small, _series(H, k), exact) if bool(small.any()) else exact)
    return made


def _series(H: Tensor, k: int) -> Tensor:
    total = torch.ones_like(H)
    for m in range(_SERIES, 0, -1):  # Horner: the ratio of neighbouring terms is -H / (k + m + 1)
        total = 1 - total * H / (k + m + 1)
    return total * H / (k + 1)


def higher(s: NoiseLevel64, t: NoiseLevel64, nodes: Sequence[Node], psis: Sequence[Tensor]) -> LinearCombination:
    """alpha_t sum_(k >= 1) m_k D[r_0, ..., r_k]: what a first-order step from s to t with D_0 lacks.

    nodes: (level, estimate), the one at s first, then the others by importance (a corrector's at t, then older ones)
    psis:  psi_0, psi_1, ..., or a method's stand-ins for them; the order is the shorter of the two lists
    """
    h = log_step(s, t)
    r = [torch.zeros_like(h)] + [log_step(s, level) / h for level, _ in nodes[1 : len(psis)]]
    return t.alpha * newton(r, [D for _, D in nodes], psis)


def newton(
    r: Sequence[Tensor], values: Sequence[LinearCombination], moments: Sequence[Tensor], usable: Tensor | None = None
) -> LinearCombination:
    """sum_(k >= 1) m_k V[r_0, ..., r_k]: the integral of the polynomial through (r_j, V_j), less that of V_0 alone.

    Newton's divided differences V[...] times m_k, the integral of (r - r_0) ... (r - r_(k - 1)). Where r_k is no
    finite number or repeats another, that difference and those after it are left out.

    moments: integrals of r^0, r^1, ... with the weight of the method; the order is that of the shortest list
    usable:  where the moments are to be used; None: wherever there are nodes
    """
    count = min(len(r), len(values), len(moments))
    column = list(values[:count])  # column[j] is V[r_j, ..., r_(j + k)] in round k
    power = [torch.ones_like(r[0])]  # coefficients of (r - r_0) ... (r - r_(k - 1)), lowest power first
    total = values[0] * 0.0
    usable = torch.ones_like(r[0], dtype=torch.bool) if usable is None else usable
    for k in range(1, count):
        usable = usable & torch.isfinite(r[k])
        for j in range(k):
            usable = usable & (r[j] != r[k])
        column = [(column[j + 1] - column[j]) / (r[j + k] - r[j]) for j in range(count - k)]
        power = _times_root(power, r[k - 1])
        moment = sum((c * p for c, p in zip(power, moments, strict=False)), torch.zeros_like(r[0]))
        total = total + (moment * column[0]).where(usable)
    return total


def _times_root(power: Sequence[Tensor], root: Tensor) -> list[Tensor]:
    """The coefficients of a polynomial times (r - root)."""
    zero = torch.zeros_like(root)
    return [up - root * same for up, same in zip([zero, *power], [*power, zero], strict=True)]
