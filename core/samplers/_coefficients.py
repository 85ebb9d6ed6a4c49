"""Coefficients used by several samplers; float64, elementwise, finite at alpha = 0 and at sigma = 0."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ._numbers import any_true, safe_sqrt
from .plan import Float64, LinearCombination, PlanBuilder, PlanLevel

Node = tuple[PlanLevel, LinearCombination]  # an estimate of x0 and the level it was evaluated at


def first_order_step(
    builder: PlanBuilder,
    x: LinearCombination,
    D: LinearCombination,
    s: PlanLevel,
    t: PlanLevel,
    sigma_d: Float64,
    key: Hashable = None,
) -> LinearCombination:
    """From s to t with the share `sigma_d` of the old noise: every first-order method, deterministic or stochastic.

    x_t = (sigma_d / sigma_s) x_s + (alpha_t - alpha_s sigma_d / sigma_s) D + sqrt(sigma_t^2 - sigma_d^2) z

    No logarithm and no division by alpha: exact at alpha_s = 0 and at sigma_t = 0.

    Args:
        builder: The plan builder.
        x: The point at s.
        D: The estimate of x0 at s.
        s: The level at which the step starts.
        t: The level at which it ends.
        sigma_d: Standard deviation of the part of the old noise that remains, at most sigma_t.
        key: Key of the new noise z.
    """
    ratio = sigma_d / s.sigma
    std = safe_sqrt(t.sigma * t.sigma - sigma_d * sigma_d)
    step = x * ratio + D * (t.alpha - s.alpha * ratio)
    return step + builder.noise(key) * std if any_true(std > 0) else step


def lambda_step(s: PlanLevel, t: PlanLevel) -> Float64:
    """h = lambda_t - lambda_s, infinite where alpha_s = 0 or sigma_t = 0."""
    return np.log(t.alpha * s.sigma / (s.alpha * t.sigma))
