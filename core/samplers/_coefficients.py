"""Coefficients that several samplers share; float64, elementwise, finite at alpha = 0 and at sigma = 0."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ._numbers import root, some
from .plan import Float64, LinearCombination, PlanBuilder, PlanLevel

Node = tuple[PlanLevel, LinearCombination]  # an estimate of x0 and the level it was evaluated at


def first_order(
    builder: PlanBuilder,
    x: LinearCombination,
    D: LinearCombination,
    s: PlanLevel,
    t: PlanLevel,
    kept: Float64,
    key: Hashable = None,
) -> LinearCombination:
    """From s to t with `kept` (sigma_d) of the old noise: every first-order method, deterministic or not.

    x_t = (sigma_d / sigma_s) x_s + (alpha_t - alpha_s sigma_d / sigma_s) D + sqrt(sigma_t^2 - sigma_d^2) z

    No logarithm and no division by alpha: exact at alpha_s = 0 and at sigma_t = 0.
    """
    ratio = kept / s.sigma
    fresh = root(t.sigma * t.sigma - kept * kept)
    step = x * ratio + D * (t.alpha - s.alpha * ratio)
    return step + builder.noise(key) * fresh if some(fresh > 0) else step


def log_step(s: PlanLevel, t: PlanLevel) -> Float64:
    """h = lambda_t - lambda_s, infinite where alpha_s = 0 or sigma_t = 0."""
    return np.log(t.alpha * s.sigma / (s.alpha * t.sigma))
