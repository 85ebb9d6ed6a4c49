"""Exponential integrators in lambda = log(alpha / sigma), shared by all multistep methods on estimates of x0.

With r = (lambda - lambda_s) / h from 0 at s to 1 at t, H = (1 + eta) h, and D(r) the polynomial through known estimates
(the nodes), the reverse process is solved exactly (Lu et al. 2022, arXiv:2211.01095, eq. 8; Gonzalez et al. 2023,
arXiv:2305.14267, for eta > 0):

    x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t int_0^1 H e^(-H (1 - r)) D(r) dr + n z
        = first-order step with D_0 + alpha_t sum_(k >= 1) m_k D[r_0, ..., r_k]

D[...] are Newton's divided differences; m_k = int_0^1 H e^(-H (1 - r)) r (r - r_1) ... (r - r_(k-1)) dr is computed
from psi_k = int_0^1 H e^(-H (1 - r)) r^k dr. In Newton's form a node that cannot be used (alpha = 0, an element of a
map whose level did not change, infinite h) removes only its own difference, so the order is reduced without a division
by zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._coefficients import Node, lambda_step
from ._numbers import Mask, any_true, select_by_mask
from .plan import Float64, LinearCombination, PlanLevel

_SERIES = 20  # terms; at |H| < 1 the remainder is below 1e-19


def exponential_moments(H: Float64, count: int) -> list[Float64]:
    """[psi_0, ..., psi_(count - 1)], psi_k = int_0^1 H e^(-H (1 - r)) r^k dr, elementwise; 1 at H = inf.

    psi_0 = 1 - e^-H and psi_k = 1 - (k / H) psi_(k - 1); where this would cancel: H sum_m (-H)^m k! / (k + m + 1)!.
    """
    psis, small = [-np.expm1(-H)], abs(H) < 1
    for k in range(1, count):
        if not any_true(small):
            psis.append(1 - k * psis[-1] / H)
        elif isinstance(small, np.ndarray):
            psis.append(np.where(small, _series(H, k), 1 - k * psis[-1] / H))
        else:
            psis.append(np.float64(_series(float(H), k)))
    return psis


def _series(H: Float64, k: int) -> Float64:
    total = 1.0
    for m in range(_SERIES, 0, -1):  # Horner's scheme: the ratio of consecutive terms is -H / (k + m + 1)
        total = 1 - total * H / (k + m + 1)
    return total * H / (k + 1)


def higher_order_terms(s: PlanLevel, t: PlanLevel, nodes: Sequence[Node], psis: Sequence[Float64]) -> LinearCombination:
    """alpha_t sum_(k >= 1) m_k D[r_0, ..., r_k]: the higher-order terms that a first-order step with D_0 lacks.

    Args:
        s: The level at which the step starts.
        t: The level at which it ends.
        nodes: (level, estimate): first the one at s, then the others in order of importance (for a corrector the one at
            t, then older ones).
        psis: psi_0, psi_1, ..., or a method's replacements for them; the order is the length of the shorter list.
    """
    h = lambda_step(s, t)
    r = [0.0, *[lambda_step(s, level) / h for level, _ in nodes[1 : len(psis)]]]
    return newton_integral(r, [D for _, D in nodes], psis, scale=t.alpha)


def newton_integral(
    r: Sequence[Float64],
    values: Sequence[LinearCombination],
    moments: Sequence[Float64],
    usable: Mask = True,
    scale: Float64 = 1.0,
) -> LinearCombination:
    """scale sum_(k >= 1) m_k V[r_0, ..., r_k]: the integral of the polynomial through (r_j, V_j) minus that of V_0.

    V[r_0, ..., r_k] = sum_j V_j / prod_(i != j) (r_j - r_i) are Newton's divided differences; m_k is the integral of (r
    - r_0) ... (r - r_(k - 1)). Where r_k is not finite or equals another node, this difference and all later ones are
    left out.

    Args:
        r: Positions of the nodes; the first is 0.
        values: Their values.
        moments: Integrals of r^0, r^1, ... with the weight of the method; the order is the length of the shortest list.
        usable: Where the higher-order terms are used.
        scale: Factor of the sum.
    """
    count = min(len(r), len(values), len(moments))
    if not any(isinstance(v, np.ndarray) for v in (*r, *moments, usable, scale)):
        r, moments, scale = [float(v) for v in r], [float(v) for v in moments], float(scale)  # the same result, faster
    weights: list[Float64] = [0.0] * count
    inverse: list[Float64] = [1.0]  # 1 / prod_(i != j) (r_j - r_i) over the nodes so far
    power: list[Float64] = [1.0]  # coefficients of (r - r_0) ... (r - r_(k - 1)), lowest power first
    for k in range(1, count):
        distances = [r[j] - r[k] for j in range(k)]
        for distance in distances:
            usable = usable & ((distance < 0) | (distance > 0)) & (abs(distance) < np.inf)
        if not any_true(usable):
            break
        product: Float64 = 1.0
        for j, distance in enumerate(distances):
            inverse[j] = inverse[j] / distance
            product = product / -distance
        inverse.append(product)
        power = _times_root(power, r[k - 1])
        moment = sum(c * p for c, p in zip(power, moments, strict=False)) * scale
        for j in range(k + 1):
            weights[j] = weights[j] + select_by_mask(usable, moment * inverse[j], 0.0)
    total = values[0] * weights[0]
    for value, weight in zip(values[1:count], weights[1:], strict=True):
        total = total + value * weight
    return total


def _times_root(power: Sequence[Float64], root: Float64) -> list[Float64]:
    """The coefficients of a polynomial multiplied by (r - root)."""
    return [shifted - root * unshifted for shifted, unshifted in zip([0.0, *power], [*power, 0.0], strict=True)]
