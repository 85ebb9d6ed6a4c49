"""Coefficients that several samplers share; float64, elementwise, finite at alpha = 0 and at sigma = 0."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from ..schedulers.base import ExactLevel
from .base import Affine, Draft

Node = tuple[ExactLevel, Affine]  # an estimate of x0 and the level it was made at


def first_order(
    draft: Draft, x: Affine, D: Affine, s: ExactLevel, t: ExactLevel, kept: Tensor, key: Hashable = None
) -> Affine:
    """From s to t with `kept` (sigma_d) of the old noise: every first-order method, deterministic or not.

    x_t = (sigma_d / sigma_s) x_s + (alpha_t - alpha_s sigma_d / sigma_s) D + sqrt(sigma_t^2 - sigma_d^2) z

    No logarithm and no division by alpha: exact at alpha_s = 0 and at sigma_t = 0.
    """
    ratio = kept / s.sigma
    fresh = (t.sigma**2 - kept**2).clamp(min=0) ** 0.5
    step = ratio * x + (t.alpha - s.alpha * ratio) * D
    return step + fresh * draft.noise(key) if bool((fresh > 0).any()) else step


def log_step(s: ExactLevel, t: ExactLevel) -> Tensor:
    """h = lambda_t - lambda_s, infinite where alpha_s = 0 or sigma_t = 0."""
    return torch.log(t.alpha / s.alpha) + torch.log(s.sigma / t.sigma)


def slope(s: ExactLevel, t: ExactLevel, nodes: Sequence[Node]) -> Affine:
    """dD/dr at s from the last two estimates, r = (lambda - lambda_s) / h: (D_1 - D_0) / r_1, or 0 where there is none.

    There is none at alpha = 0 (the older estimate's weight tends to 0), at sigma_t = 0 (h is infinite), and where an
    element of a map kept its level.
    """
    if len(nodes) < 2:
        return Affine({})
    (_, D0), (older, D1) = nodes[-1], nodes[-2]
    r1 = log_step(s, older) / log_step(s, t)
    return ((D1 - D0) / r1).where(r1 < 0)  # r1 is 0 or no number where there is no slope, -inf where it is 0
