"""Verdicts on simulated figures: false alarms at most 5 %, small paired differences found; planted errors."""

import ast
import math

import numpy as np
import pytest
from sonolux.core.evaluation.ablation import figures
from sonolux.core.evaluation.ablation.figures import (
    BASELINE,
    BETTER,
    FAILED,
    NO_BASELINE,
    ONE_SEED,
    SAME,
    WORSE,
    compare_figures,
    significant_by_holm,
)
from sonolux.core.testing.mutation import assert_caught, planted_error, set_argument, swap_operator

REPEATS = 400
SEEDS = 3
ARMS = 5


def simulated(rng, effects, noise=1.0):
    """Figures (arms, seeds): what a seed does to all arms is ten times the noise of a run."""
    shape = (len(effects), SEEDS)
    return np.asarray(effects)[:, None] + 10 * noise * rng.normal(size=(1, SEEDS)) + noise * rng.normal(size=shape)


def check_false_alarms():
    """Of comparisons of equal arms, about 5 % or fewer have a false alarm: at most 5 % + 2.6 standard errors."""
    rng = np.random.default_rng(0)
    alarms = sum(
        any(one.verdict != SAME for one in compare_figures(simulated(rng, [0.0] * ARMS))[1:]) for _ in range(REPEATS)
    )
    assert alarms / REPEATS <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / REPEATS), alarms / REPEATS


def check_differences():
    """A difference far above the noise and far below the effect of a seed is found, with its sign and interval."""
    rng = np.random.default_rng(1)
    inside, found = 0, 0
    for _ in range(REPEATS // 4):
        _, better, worse, equal = compare_figures(simulated(rng, [0.0, -1.0, 1.0, 0.0], noise=0.05))
        found += (better.verdict, worse.verdict) == (BETTER, WORSE)
        inside += sum(one.low <= effect <= one.high for one, effect in ((better, -1), (worse, 1), (equal, 0)))
    assert found >= 0.95 * REPEATS // 4
    assert 0.90 <= inside / (3 * REPEATS // 4) <= 0.985


@pytest.mark.slow
def test_false_alarms_and_differences():
    check_false_alarms()
    check_differences()


def check_all():
    check_false_alarms()
    check_differences()


def uncorrected(p_values):
    return [p < figures.LEVEL for p in p_values]


def one_degree_more(monkeypatch):
    p_value, quantile = figures.stdtr, figures.stdtrit
    monkeypatch.setattr(figures, "stdtr", lambda df, t: p_value(df + 1, t))
    monkeypatch.setattr(figures, "stdtrit", lambda df, p: quantile(df + 1, p))


def unpaired(monkeypatch):
    paired, rng = figures._paired, np.random.default_rng(2)
    monkeypatch.setattr(figures, "_paired", lambda row, base: paired(row, rng.permutation(base)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        lambda monkeypatch: monkeypatch.setattr(figures, "significant_by_holm", uncorrected),
        one_degree_more,
        unpaired,
    ],
    ids=["no correction", "wrong degrees of freedom", "seeds not paired"],
)
def test_planted_methods_are_caught(plant, monkeypatch):
    plant(monkeypatch)
    assert_caught(check_all)


def check_worked_example():
    """Differences 1, 2, 3: m = 2, s = 1, t = 2 sqrt(3), p = 0.0742 with 2 degrees of freedom; t(0.975, 2) = 4.3027."""
    _, one = compare_figures([[5.0, 0.0, 2.0], [6.0, 2.0, 5.0]])
    assert one.difference == 2 and one.mean == pytest.approx(13 / 3)
    assert one.p == pytest.approx(0.07418, abs=1e-5)
    assert (one.low, one.high) == pytest.approx((2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)
    assert one.verdict == SAME


def test_a_worked_example():
    check_worked_example()


@pytest.mark.parametrize(
    "error",
    [
        set_argument("std", "ddof", "0"),
        set_argument("stdtr", 0, "n"),
        set_argument("stdtrit", 0, "n"),
        swap_operator(ast.Sub, ast.Add),
    ],
)
def test_planted_errors_of_the_interval_are_caught(error):
    with planted_error(figures, "_paired", error):
        assert_caught(check_worked_example)


def test_holm():
    assert significant_by_holm([0.04, 0.01, 0.03]) == [False, True, False], "0.03 is not below 0.025"
    assert significant_by_holm([0.04, 0.01, 0.02]) == [True, True, True]
    assert significant_by_holm([math.nan, 0.02]) == [False, True], "0.02 is below 0.025"
    assert significant_by_holm([math.nan, 0.03]) == [False, False], "an arm without a test counts"


def test_verdicts_without_a_test():
    base, alone = compare_figures([[1.0], [0.5]])
    assert (base.verdict, alone.verdict) == (BASELINE, ONE_SEED) and math.isnan(alone.low)
    assert compare_figures([[1.0, 2.0], [1.0, math.nan]])[1].verdict == FAILED
    assert compare_figures([[1.0, math.nan], [1.0, 1.0]])[1].verdict == NO_BASELINE
    assert compare_figures([[1.0, 2.0], [1.0, 2.0]])[1].verdict == SAME, "equal to the last bit"
