"""Coefficients that several samplers share; float64, elementwise, finite at alpha = 0 and at sigma = 0."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor

from ..types import Level, Number
from .base import Affine, Draft


def first_order(draft: Draft, x: Affine, D: Affine, s: Level, t: Level, kept: Number, key: Hashable) -> Affine:
    """From s to t with `kept` (sigma_d) of the old noise: every first-order method, deterministic or not.

    x_t = (sigma_d / sigma_s) x_s + (alpha_t - alpha_s sigma_d / sigma_s) D + sqrt(sigma_t^2 - sigma_d^2) z
    """
    ratio = kept / s.sigma
    fresh = (t.sigma**2 - kept**2) ** 0.5
    step = ratio * x + (t.alpha - s.alpha * ratio) * D
    if isinstance(fresh, Tensor) and not bool((fresh > 0).any()):
        return step
    return step + fresh * draft.noise(key)
