"""Intervals against the normal theory of means; distances and standardised features; planted errors."""

import math

import numpy as np
import pytest
from sonolux.core.evaluation import intervals
from sonolux.core.evaluation.features import standardise_features
from sonolux.core.evaluation.intervals import bootstrap_interval
from sonolux.core.evaluation.metrics.base import kth_neighbour_distance, pairwise_distances
from sonolux.core.evaluation.metrics.frechet import frechet_distance
from sonolux.core.evaluation.metrics.mmd import squared_mmd
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput


def difference(generated, real):
    return float(generated.mean() - real.mean())


def check_interval():
    """A difference of means: width 2 * 1.96 standard errors, and the truth inside in about 95 % of trials."""
    rng = np.random.default_rng(0)
    n, m, trials = 60, 90, 150
    widths, inside = [], 0
    for _ in range(trials):
        low, high = bootstrap_interval(
            difference, rng.normal(0.5, 2, (n, 1)), rng.normal(0, 1, (m, 1)), repeats=200, rng=rng, level=0.95
        )
        widths.append(high - low)
        inside += low <= 0.5 <= high
    assert np.mean(widths) == pytest.approx(2 * 1.96 * math.sqrt(4 / n + 1 / m), rel=0.05)
    assert 0.90 <= inside / trials <= 0.995


@pytest.mark.slow
def test_interval():
    check_interval()


def third(groups, rng):
    return rng.permutation(len(groups))[: len(groups) // 3]


def with_replacement(groups, rng):
    return rng.integers(len(groups), size=len(groups) // 2)


def first_half(groups, rng):
    return np.arange(len(groups) // 2)


@pytest.mark.slow
@pytest.mark.parametrize("planted", [third, with_replacement, first_half])
def test_planted_resampling_is_caught(planted, monkeypatch):
    monkeypatch.setattr(intervals, "_half", planted)
    assert_caught(check_interval)


def check_groups():
    """Two groups far apart, in fixed shares: the interval of the mean is that of the spread within the groups alone."""
    rng = np.random.default_rng(6)
    label = np.arange(201) % 2
    g, r = (rng.normal(100.0 * label, 1)[:, None] for _ in range(2))
    low, high = bootstrap_interval(difference, g, r, 200, rng, groups=(label, label))
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(2 / 201), rel=0.25)


def test_groups_keep_their_shares():
    check_groups()
    half = intervals._half(np.array([0, 1, 1, 1, 0, 2, 2, 2]), np.random.default_rng(0))
    assert sorted(np.bincount(np.array([0, 1, 1, 1, 0, 2, 2, 2])[half])) == [1, 1, 2] and len(set(half)) == 4


def test_planted_loss_of_the_groups_is_caught(monkeypatch):
    monkeypatch.setattr(intervals, "_half", lambda groups, rng: rng.permutation(len(groups))[: len(groups) // 2])
    assert_caught(check_groups)


@pytest.mark.parametrize("metric", [frechet_distance, squared_mmd])
def test_it_holds_the_value_though_halves_are_biased(metric):
    rng = np.random.default_rng(1)
    g, r = rng.standard_normal((80, 6)) + 0.4, rng.standard_normal((80, 6))
    low, high = bootstrap_interval(metric, g, r, repeats=40, rng=rng)
    assert low < metric(g, r) < high


def test_it_repeats_with_the_generator():
    g, r = np.random.default_rng(2).standard_normal((2, 30, 3))
    a, b = (bootstrap_interval(squared_mmd, g, r, 10, np.random.default_rng(5)) for _ in range(2))
    assert a == b


def test_distances_of_copies_are_zero_far_from_the_origin():
    rows = np.random.default_rng(3).standard_normal((5, 4)) + 1e6
    assert np.all(np.diag(pairwise_distances(rows, rows)) == 0)
    assert kth_neighbour_distance(np.array([[0.0], [1.0], [5.0]]), 2).tolist() == [5, 4, 5]


def test_standardised():
    rng = np.random.default_rng(4)
    reference = rng.normal([3, -1, 2], [10, 0.1, 0], (500, 3))  # the last never varies
    own, other = standardise_features(reference, reference, reference[:1] + np.array([0, 0, 5]))
    assert np.allclose(own.mean(axis=0), 0) and np.allclose(own.std(axis=0), [1, 1, 0])
    assert other[0, 2] == pytest.approx(5)


def test_bad_settings():
    rows = np.random.rand(20, 2)
    with pytest.raises(BadInput, match="repeats is 1"):
        bootstrap_interval(squared_mmd, rows, rows, 1, np.random.default_rng())
    with pytest.raises(BadInput, match="level is 95"):
        bootstrap_interval(squared_mmd, rows, rows, 10, np.random.default_rng(), level=95)
