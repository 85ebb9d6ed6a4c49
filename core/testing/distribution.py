"""The distance between a stochastic sampler's results and the data, whose points have no exact value.

mean, covariance   against the problem's, which are known exactly
two samples        the energy distance to exact samples (Szekely and Rizzo 2013, "Energy statistics", eq. 5), and the
share of random splits of both sets together with at least this distance: the p-value of a permutation test
weak order         the order at which mean and variance converge on Gaussian data, from exact moments, without sampling
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..samplers.base import Sampler, run_plan
from ..schedulers.base import Schedule
from ..types import NoiseLevel
from .base import AnalyticProblem
from .moments import plan_moments
from .ode import random_start
from .orders import MeasuredOrder, uneven_levels

DATA = (
    (0.7, 0.4),
    (-0.5, 1.0),
    (0.3, 1.6),
)  # mean and standard deviation of the Gaussian data on which weak orders are measured


@dataclass(frozen=True)
class MomentErrors:
    """Errors of a set of samples.

    Attributes:
        mean: Distance of the samples' mean from that of the problem, in units of the data's deviation (root of the
            trace).
        covariance: Relative distance of the samples' covariance from that of the problem, in the Frobenius norm.
    """

    mean: float
    covariance: float


@dataclass(frozen=True)
class DistributionErrors:
    """Errors of a sampler's samples, and of the same number of exact samples for comparison.

    Attributes:
        made: Errors of the sampler's samples.
        chance: Errors of exact samples, which are due to chance alone.
        distance: Energy distance between the two sets, in units of the data.
        p: Share of random splits with at least this distance: small where the distributions differ.
        count: Number of samples in each set.
    """

    made: MomentErrors
    chance: MomentErrors
    distance: float
    p: float
    count: int


def moment_errors(x: Tensor, problem: AnalyticProblem) -> MomentErrors:
    """Errors of mean and covariance of samples x (N, *shape)."""
    flat = x.double().reshape(len(x), -1)
    size = float(torch.trace(problem.covariance)) ** 0.5
    off = torch.cov(flat.T).reshape(problem.covariance.shape) - problem.covariance
    return MomentErrors(
        float((flat.mean(0) - problem.mean).norm()) / size, float(off.norm() / problem.covariance.norm())
    )


def energy_distance_test(a: Tensor, b: Tensor, permutations: int = 200, seed: int = 0) -> tuple[float, float]:
    """(energy distance, p-value) of samples a (N, *shape) and b (M, *shape).

    E^2 = 2 mean |a - b| - mean |a - a'| - mean |b - b'|; with signs s = 1/N for rows of a and -1/M for rows of b it
    equals -s^T |.| s.

    Args:
        a: First set.
        b: Second set.
        permutations: Number of random splits.
        seed: Seed of the splits.
    """
    rows = torch.cat([a, b]).double().flatten(1)
    between = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    signs = torch.cat([rows.new_full((len(a),), 1 / len(a)), rows.new_full((len(b),), -1 / len(b))])
    generator = torch.Generator().manual_seed(seed)
    split = [signs] + [signs[torch.randperm(len(rows), generator=generator)] for _ in range(permutations)]
    S = torch.stack(split, dim=1)  # (N + M, 1 + permutations)
    squared = -(S * (between @ S)).sum(0)
    p = (1 + int((squared[1:] >= squared[0]).sum())) / (1 + permutations)
    return float(squared[0].clamp(min=0).sqrt()), p


def sample_with_exact_denoiser(
    sampler: Sampler,
    schedule: Schedule,
    levels: Sequence[NoiseLevel],
    problem: AnalyticProblem,
    count: int,
    seed: int = 0,
) -> Tensor:
    """Samples (count, *shape) of the sampler with exact estimates, started from the exact marginal at levels[0]."""
    plan = sampler.plan(schedule, levels)
    start = random_start(problem, levels[0], count, seed)
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    noise = {key: torch.randn(start.shape, generator=generator, dtype=torch.float64) for key in plan.noises}
    return run_plan(plan, problem, start, noise=noise)


def measure_distribution(
    sampler: Sampler,
    schedule: Schedule,
    levels: Sequence[NoiseLevel],
    problem: AnalyticProblem,
    count: int = 1000,
    seed: int = 0,
    permutations: int = 200,
) -> DistributionErrors:
    """Errors of `count` samples from noise to levels[-1], which is clean, against the problem and exact samples."""
    samples, exact = (
        sample_with_exact_denoiser(sampler, schedule, levels, problem, count, seed),
        problem.draw(count, seed + 1),
    )
    distance, p = energy_distance_test(samples, exact, permutations, seed)
    return DistributionErrors(moment_errors(samples, problem), moment_errors(exact, problem), distance, p, count)


def measure_weak_order(sampler: Sampler, schedule: Schedule, steps: Sequence[int] = (24, 48, 96)) -> MeasuredOrder:
    """The weak order on the interval of `orders`, with the method's own start: errors of mean and variance.

    The error is the largest, over several Gaussians, of the error of the mean in standard deviations and the relative
    error of the variance.
    """
    errors = []
    for n in steps:
        levels = uneven_levels(schedule, n)
        alpha, sigma = float(levels[-1].alpha), float(levels[-1].sigma)
        plan, worst = sampler.plan(schedule, levels), 0.0
        for mean, std in DATA:
            found, variance = plan_moments(plan, mean, std), alpha**2 * std**2 + sigma**2
            worst = max(worst, abs(found.mean - alpha * mean) / variance**0.5, abs(found.variance / variance - 1))
        errors.append(worst)
    return MeasuredOrder(tuple(steps), tuple(errors))
