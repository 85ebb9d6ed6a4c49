"""Coefficients that several samplers share; float64, elementwise, finite at alpha = 0 and at sigma = 0."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from ..schedulers.base import NoiseLevel64
from .base import LinearCombination, PlanBuilder

Node = tuple[NoiseLevel64, LinearCombination]  # an estimate of x0 and the level it was made at


def first_order(
    draft: PlanBuilder,
    x: LinearCombination,
    D: LinearCombination,
    s: NoiseLevel64,
    t: NoiseLevel64,
    kept: Tensor,
    key: Hashable = None,
) -> LinearCombination:
    """From s to t with `kept` (sigma_d) of the old noise: every first-order method, deterministic or not.

    x_t = (sigma_d / sigma_s) x_s + (alpha_t - alpha_s sigma_d / sigma_s) D + sqrt(sigma_t^2 - sigma_d^2) z

    No logarithm and no division by alpha: exact at alpha_s = 0 and at sigma_t = 0.
    """
    ratio = kept / s.sigma
    fresh = (t.sigma**2 - kept**2).clamp(min=0) ** 0.5
    step = ratio * x + (t.alpha - s.alpha * ratio) * D
    return step + fresh * draft.noise(key) if bool((fresh > 0).any()) else step


def log_step(s: NoiseLevel64, t: NoiseLevel64) -> Tensor:
    """h = lambda_t - lambda_s, infinite where alpha_s = 0 or sigma_t = 0."""
    return torch.log(t.alpha / s.alpha) + torch.log(s.sigma / t.sigma)
