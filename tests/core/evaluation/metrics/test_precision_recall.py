"""Precision, recall and coverage against counts made with a k-d tree and the closed form of coverage."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from sonolux.core.evaluation.metrics import precision_recall
from sonolux.core.evaluation.metrics.precision_recall import PrecisionRecall
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput


def inside(points, centres, k):
    """Matrix (points, centres): does the ball of each centre, out to its k-th nearest fellow, hold the point?"""
    radius = cKDTree(centres).query(centres, k=k + 1)[0][:, k]  # column 0 is the centre itself
    return np.array([[np.linalg.norm(p - c) <= r for c, r in zip(centres, radius, strict=True)] for p in points])


def check_tree():
    rng = np.random.default_rng(0)
    g, r = 0.8 * rng.standard_normal((40, 2)) + 0.5, rng.standard_normal((60, 2))
    for k in (1, 3, 5):
        shares = PrecisionRecall(k=k)(g, r)
        assert shares["precision"] == pytest.approx(inside(g, r, k).any(axis=1).mean())
        assert shares["recall"] == pytest.approx(inside(r, g, k).any(axis=1).mean())
        assert shares["coverage"] == pytest.approx(inside(g, r, k).any(axis=0).mean())


def check_coverage():
    """Equal distributions: a ball stays empty if the k nearest of M - 1 real and N generated rows are all real."""
    rng = np.random.default_rng(1)
    n, m, k = 30, 20, 3
    empty = np.prod([(m - 1 - i) / (m - 1 + n - i) for i in range(k)])
    values = [
        PrecisionRecall(k)(rng.standard_normal((n, 5)), rng.standard_normal((m, 5)))["coverage"] for _ in range(400)
    ]
    assert abs(np.mean(values) - (1 - empty)) < 4 * np.std(values) / 20


CHECKS = [check_tree, check_coverage]


@pytest.mark.parametrize("check", CHECKS)
def test_values(check):
    check()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("off", [-1, 1])
def test_planted_neighbour_off_by_one_is_caught(check, off, monkeypatch):
    true = precision_recall.kth_neighbour_distance
    monkeypatch.setattr(
        precision_recall, "kth_neighbour_distance", lambda a, k: true(a, k + off) if k + off else np.zeros(len(a))
    )
    assert_caught(check)


def test_planted_swap_of_the_sets_is_caught(monkeypatch):
    true = precision_recall.as_feature_pair
    monkeypatch.setattr(precision_recall, "as_feature_pair", lambda g, r: true(g, r)[::-1])
    assert_caught(check_tree)


def test_parts_tell_quality_from_variety():
    rng = np.random.default_rng(2)
    real = rng.standard_normal((200, 3))
    one_mode = 0.05 * rng.standard_normal((200, 3))
    shares = PrecisionRecall()(one_mode, real)
    assert shares["precision"] == 1 and shares["recall"] < 0.05 and shares["coverage"] < 0.6
    assert list(PrecisionRecall()(real + 100, real).values()) == [0, 0, 0]
    assert list(PrecisionRecall()(real, real).values()) == [1, 1, 1]
    assert list(shares) == [result.key for result in PrecisionRecall.results]


def test_bad_settings():
    with pytest.raises(BadInput, match="k is 0"):
        PrecisionRecall(k=0)
    with pytest.raises(BadInput, match=r"k is 12: .* among 12 rows"):
        PrecisionRecall(k=12)(np.random.rand(12, 2), np.random.rand(12, 2))
    with pytest.raises(BadInput, match="k is 5: "):
        PrecisionRecall()(np.random.rand(5, 2), np.random.rand(50, 2))


def test_few_real_rows_have_three_neighbours():
    g, r = np.random.default_rng(3).standard_normal((2, 20, 2))
    assert PrecisionRecall()(g, r) == PrecisionRecall(k=3)(g, r) != PrecisionRecall(k=5)(g, r)
    more = np.random.default_rng(4).standard_normal((21, 2))
    assert PrecisionRecall()(g, more) == PrecisionRecall(k=5)(g, more)
    assert PrecisionRecall().min_rows == 11 and PrecisionRecall(k=20).min_rows == 21
