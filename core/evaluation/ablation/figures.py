"""Compares the figures of arms that share their seeds: paired t intervals, and verdicts corrected for several arms.

With d_s the difference of an arm to the first one for seed s, their mean m and standard deviation s_d over n seeds, the
interval is m ± t(0.975, n - 1) s_d / sqrt(n), and p is that of the two-sided t test with n - 1 degrees of freedom
(Student 1908). The verdicts follow the method of Holm (1979): the smallest of k values of p is significant if it is
below 5 % / k, then the next if it is below 5 % / (k - 1), and so on, up to the first that is not. The probability of a
false alarm for any of the arms is then at most 5 %. Differences are paired: what a seed does to all arms cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.05
BETTER, WORSE, SAME, BASELINE = "better", "worse", "no difference seen", "baseline"
FAILED, NO_BASELINE, ONE_SEED = "training failed", "baseline failed", "one seed: no verdict"


@dataclass(frozen=True)
class ArmFigure:
    """The figure of an arm.

    Attributes:
        mean: Mean over the seeds; NaN where a run failed.
        difference: Mean difference from the first arm.
        low: Lower end of the 95 % interval of the difference, for this arm alone; NaN: unknown.
        high: Upper end.
        p: p value of the paired t test, before the correction.
        verdict: The verdict at 5 %, corrected for the number of arms.
    """

    mean: float
    difference: float
    low: float
    high: float
    p: float
    verdict: str


def compare_figures(values: Sequence[Sequence[float]]) -> list[ArmFigure]:
    """Compare the arms with the first one; smaller is better.

    Args:
        values: (arms, seeds); NaN where a run failed.
    """
    table = np.asarray(values, dtype=np.float64)
    found = [_paired(row, table[0]) for row in table]
    differs = significant_by_holm([one.p for one in found[1:]])
    out = [ArmFigure(found[0].mean, 0.0, 0.0, 0.0, math.nan, BASELINE)]
    for row, one, significant in zip(table[1:], found[1:], differs, strict=True):
        out.append(ArmFigure(one.mean, one.difference, one.low, one.high, one.p, _verdict(table[0], row, significant)))
    return out


def _paired(row: np.ndarray, base: np.ndarray) -> ArmFigure:
    d = row - base
    n, mean = len(d), float(d.mean())
    low = high = p = math.nan
    if n > 1 and math.isfinite(mean):
        error = float(d.std(ddof=1)) / math.sqrt(n)
        wide = float(stdtrit(n - 1, 1 - LEVEL / 2)) * error
        low, high = mean - wide, mean + wide
        p = float(2 * stdtr(n - 1, -abs(mean) / error)) if error else float(mean == 0)
    return ArmFigure(float(row.mean()), mean, low, high, p, "")


def significant_by_holm(p_values: Sequence[float]) -> list[bool]:
    """Which p values are significant at 5 % by the method of Holm; NaN is not, and counts."""
    out, k = [False] * len(p_values), len(p_values)
    for rank, i in enumerate(sorted(range(k), key=lambda i: math.inf if math.isnan(p_values[i]) else p_values[i])):
        if not p_values[i] < LEVEL / (k - rank):
            break
        out[i] = True
    return out


def _verdict(base: np.ndarray, row: np.ndarray, significant: bool) -> str:
    if not np.isfinite(row).all():
        return FAILED
    if not np.isfinite(base).all():
        return NO_BASELINE
    if len(row) == 1:
        return ONE_SEED
    if not significant:
        return SAME
    return BETTER if (row - base).mean() < 0 else WORSE
