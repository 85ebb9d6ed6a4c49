"""Mean and variance of a sampler's results on Gaussian data: exact numbers, without random sampling.

For x0 ~ N(mean, std^2) the estimate E[x0 | x] is affine in x, so the sampler's result is affine in its independent
noises. One run with a row for each noise, with this noise set to 1 and the others to 0, gives every coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..samplers.base import Plan, Sampler, run_plan
from ..schedulers.base import Schedule
from ..types import NoiseLevel
from .mixture import GaussianMixture


@dataclass(frozen=True)
class Moments:
    """Mean and variance of the last point."""

    mean: float
    variance: float


def sampler_moments(
    sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel], mean: float, std: float
) -> Moments:
    """Mean and variance of the sampler's result, started from the exact marginal at levels[0]."""
    return plan_moments(sampler.plan(schedule, levels), mean, std)


def plan_moments(plan: Plan, mean: float, std: float) -> Moments:
    """The same for a plan whose noises are independent of each other."""
    data = GaussianMixture(torch.full((1, 1, 1), mean, dtype=torch.float64), std)
    unit = torch.eye(2 + len(plan.noises), dtype=torch.float64)[:, 1:, None, None]  # (row, noise, 1, 1)
    alpha, sigma = float(plan.rows[0].level.alpha), float(plan.rows[0].level.sigma)
    start = alpha * mean + (alpha**2 * std**2 + sigma**2) ** 0.5 * unit[:, 0]
    noise = {key: unit[:, 1 + i] for i, key in enumerate(plan.noises)}
    ends = run_plan(plan, data, start, noise=noise).reshape(-1)
    return Moments(float(ends[0]), float((ends[1:] - ends[0]).square().sum()))
