"""Intervals around a metric's value and around a share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..types import BadInput
from .metrics.base import Features, Groups, as_feature_pair

Statistic = Callable[[np.ndarray, np.ndarray], float]


def bootstrap_interval(
    statistic: Statistic,
    generated: Features,
    real: Features,
    repeats: int,
    rng: np.random.Generator,
    level: float = 0.95,
    groups: Groups | None = None,
) -> tuple[float, float]:
    """An interval (low, high) around statistic(generated, real) that holds its expected value with probability `level`.

    Each repeat takes a random half of each set WITHOUT replacement. For a mean, the variance over halves of a finite
    sample is s^2/(n/2) (1 - 1/2) = s^2/n, equal to that of the whole sample, and unlike in the usual bootstrap no row
    occurs
    twice: duplicates would raise MMD, lower nearest-neighbour distances and shrink covariances. Statistics that depend
    on N (the Frechet distance is biased upwards by about 1/N) are larger on halves, so only the spread of the repeats
    is used: [v + q_low - mean, v + q_high - mean] with v the value on all rows. Where both sets come from one
    distribution a quadratic statistic such as MMD^2 varies like 1/n instead of 1/sqrt(n): the interval is then wider
    than necessary, never narrower.

    Source: Shao and Wu 1989, "A general theory for jackknife variance estimation" (delete-d jackknife, d = n/2).

    Args:
        statistic: A function of two float64 arrays (N, d) and (M, d).
        generated: (N, d).
        real: (M, d).
        repeats: Number of halves.
        rng: Chooses the halves.
        level: Probability of the interval.
        groups: Labels of the rows, such as classes: halves are taken within each group, since a distance between sets
            of several classes would otherwise vary mostly with the classes' shares, which are fixed.

    Raises:
        BadInput: For fewer than four rows, fewer than two repeats, or a level outside (0, 1).
    """
    g, r = as_feature_pair(generated, real, least=4)
    if repeats < 2:
        raise BadInput(f"repeats is {repeats}: an interval needs at least 2, and 100 or more to be reliable")
    if not 0 < level < 1:
        raise BadInput(f"level is {level}: give the probability of the interval, between 0 and 1")
    value = statistic(g, r)
    of_g, of_r = groups or (np.zeros(len(g)), np.zeros(len(r)))
    halves = np.array([statistic(g[_half(of_g, rng)], r[_half(of_r, rng)]) for _ in range(repeats)])
    low, high = np.quantile(halves, [(1 - level) / 2, (1 + level) / 2]) - halves.mean()
    return float(value + low), float(value + high)


def _half(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of a random half of each group; of groups of odd size every second half is rounded up."""
    chosen, spare = [], 0
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        size = (len(rows) + spare) // 2
        spare = len(rows) + spare - 2 * size
        chosen.append(rows[:size])
    return np.concatenate(chosen)


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of Wilson 1927 for a share of n."""
    z = 1.96
    middle, wide = share + z * z / (2 * n), z * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5
    return (middle - wide) / (1 + z * z / n), (middle + wide) / (1 + z * z / n)
