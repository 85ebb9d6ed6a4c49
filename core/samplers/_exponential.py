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

import numpy as np

from ._coefficients import Node, log_step
from ._numbers import Mask, some, where
from .plan import Float64, LinearCombination, PlanLevel

_SERIES = 20  # terms; at |H| < 1 the rest is below 1e-19


def psi(H: Float64, count: int) -> list[Float64]:
    """[psi_0, ..., psi_(count - 1)], psi_k = int_0^1 H e^(-H (1 - r)) r^k dr, elementwise; 1 at H = inf.

    psi_0 = 1 - e^-H and psi_k = 1 - (k / H) psi_(k - 1); where that would cancel, H sum_m (-H)^m k! / (k + m + 1)!.
    """
    made, small = [-np.expm1(-H)], abs(H) < 1
    for k in range(1, count):
        if not some(small):
            made.append(1 - k * made[-1] / H)
        elif isinstance(small, np.ndarray):
            made.append(np.where(small, _series(H, k), 1 - k * made[-1] / H))
        else:
            made.append(np.float64(_series(float(H), k)))
    return made


def _series(H: Float64, k: int) -> Float64:
    total = 1.0
    for m in range(_SERIES, 0, -1):  # Horner: the ratio of neighbouring terms is -H / (k + m + 1)
        total = 1 - total * H / (k + m + 1)
    return total * H / (k + 1)


def higher(s: PlanLevel, t: PlanLevel, nodes: Sequence[Node], psis: Sequence[Float64]) -> LinearCombination:
    """alpha_t sum_(k >= 1) m_k D[r_0, ..., r_k]: what a first-order step from s to t with D_0 lacks.

    Args:
        s: The level the step starts from.
        t: The level it goes to.
        nodes: (level, estimate), the one at s first, then the others by importance (a corrector's at t, then older
            ones).
        psis: psi_0, psi_1, ..., or a method's stand-ins for them; the order is the shorter of the two lists.
    """
    h = log_step(s, t)
    r = [0.0, *[log_step(s, level) / h for level, _ in nodes[1 : len(psis)]]]
    return newton(r, [D for _, D in nodes], psis, scale=t.alpha)


def newton(
    r: Sequence[Float64],
    values: Sequence[LinearCombination],
    moments: Sequence[Float64],
    usable: Mask = True,
    scale: Float64 = 1.0,
) -> LinearCombination:
    """scale sum_(k >= 1) m_k V[r_0, ..., r_k]: the integral of the polynomial through (r_j, V_j), less that of V_0.

    V[r_0, ..., r_k] = sum_j V_j / prod_(i != j) (r_j - r_i) are Newton's divided differences, m_k is the integral of
    (r - r_0) ... (r - r_(k - 1)). Where r_k is no finite number or repeats another, that difference and those after it
    are left out.

    Args:
        r: Places of the nodes; the first is 0.
        values: Their values.
        moments: Integrals of r^0, r^1, ... with the weight of the method; the order is that of the shortest list.
        usable: Where the moments are to be used.
        scale: Factor of the whole.
    """
    count = min(len(r), len(values), len(moments))
    if not any(isinstance(v, np.ndarray) for v in (*r, *moments, usable, scale)):
        r, moments, scale = [float(v) for v in r], [float(v) for v in moments], float(scale)  # the same, and faster
    weights: list[Float64] = [0.0] * count
    inverse: list[Float64] = [1.0]  # of prod_(i != j) (r_j - r_i) over the nodes so far
    power: list[Float64] = [1.0]  # coefficients of (r - r_0) ... (r - r_(k - 1)), lowest power first
    for k in range(1, count):
        apart = [r[j] - r[k] for j in range(k)]
        for distance in apart:
            usable = usable & ((distance < 0) | (distance > 0)) & (abs(distance) < np.inf)
        if not some(usable):
            break
        own: Float64 = 1.0
        for j, distance in enumerate(apart):
            inverse[j] = inverse[j] / distance
            own = own / -distance
        inverse.append(own)
        power = _times_root(power, r[k - 1])
        moment = sum(c * p for c, p in zip(power, moments, strict=False)) * scale
        for j in range(k + 1):
            weights[j] = weights[j] + where(usable, moment * inverse[j], 0.0)
    total = values[0] * weights[0]
    for value, weight in zip(values[1:count], weights[1:], strict=True):
        total = total + value * weight
    return total


def _times_root(power: Sequence[Float64], root: Float64) -> list[Float64]:
    """The coefficients of a polynomial times (r - root)."""
    return [up - root * same for up, same in zip([0.0, *power], [*power, 0.0], strict=True)]
