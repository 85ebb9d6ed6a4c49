"""MMD against the closed form for Gaussians (so it is unbiased) and a plain double loop, with planted errors."""

import math

import numpy as np
import pytest
from sonolux.core.evaluation.metrics import mmd
from sonolux.core.evaluation.metrics.mmd import MMD, median_distance, squared_mmd
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput


def kernel_mean(h, d, variance, shift):
    """E k(x, y) for x - y ~ N(shift, variance I) in d dimensions."""
    return (h * h / (h * h + variance)) ** (d / 2) * math.exp(-(shift**2) / (2 * (h * h + variance)))


def check_unbiased():
    """Over many small sets the mean is the population's MMD^2, 0 for equal distributions, within 4 standard errors."""
    rng = np.random.default_rng(0)
    h, d, n, m, repeats = 1.5, 3, 12, 17, 600
    for scale, shift in ((1.0, 0.0), (1.6, 0.0), (1.0, 0.8)):
        values = []
        for _ in range(repeats):
            g = scale * rng.standard_normal((n, d))
            g[:, 0] += shift
            values.append(squared_mmd(g, rng.standard_normal((m, d)), h))
        expected = (
            kernel_mean(h, d, 2 * scale**2, 0) + kernel_mean(h, d, 2, 0) - 2 * kernel_mean(h, d, 1 + scale**2, shift)
        )
        assert abs(np.mean(values) - expected) < 4 * np.std(values) / math.sqrt(repeats)


def check_loop():
    """The definition as three plain loops, with the bandwidth at the real set's median distance."""
    rng = np.random.default_rng(1)
    g, r = rng.standard_normal((5, 2)), 2 * rng.standard_normal((6, 2))
    apart = [math.dist(r[i], r[j]) for i in range(6) for j in range(i)]
    h = float(np.median(apart))

    def k(x, y):
        return math.exp(-(math.dist(x, y) ** 2) / (2 * h * h))

    within_g = np.mean([k(g[i], g[j]) for i in range(5) for j in range(5) if i != j])
    within_r = np.mean([k(r[i], r[j]) for i in range(6) for j in range(6) if i != j])
    between = np.mean([k(x, y) for x in g for y in r])
    assert squared_mmd(g, r) == pytest.approx(within_g + within_r - 2 * between, rel=1e-10)


CHECKS = [check_unbiased, check_loop]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_values(check):
    check()


@pytest.mark.parametrize("check", CHECKS)
def test_planted_diagonal_is_caught(check, monkeypatch):
    monkeypatch.setattr(mmd, "_others", lambda a, h, groups=None: mmd._kernel(a, a, h).mean())
    assert_caught(check)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_planted_kernel_width_is_caught(check, monkeypatch):
    monkeypatch.setattr(mmd, "_kernel", lambda a, b, h: np.exp(-np.square(mmd.pairwise_distances(a, b)) / (h * h)))
    assert_caught(check)


def test_planted_median_with_the_zeros_of_the_diagonal_is_caught(monkeypatch):
    monkeypatch.setattr(mmd, "median_distance", lambda rows: float(np.median(mmd.pairwise_distances(rows, rows))))
    assert_caught(check_loop)


def test_it_is_reported_as_it_is():
    """Equal distributions give negative values about as often as positive ones: nothing is clamped."""
    rng = np.random.default_rng(2)
    values = [squared_mmd(rng.standard_normal((40, 3)), rng.standard_normal((40, 3))) for _ in range(60)]
    assert 15 <= sum(v < 0 for v in values) <= 50


def test_the_component_names_its_result_and_fixes_its_bandwidth():
    g, r, other = np.random.default_rng(5).standard_normal((3, 20, 3))
    groups = (np.arange(20) % 2, np.arange(20) % 3)
    assert MMD(2.0)(g, r, groups) == {"mmd": squared_mmd(g, r, 2.0, groups)} and MMD.results[0].key == "mmd"
    assert MMD().fixed(other)(g, r) == {"mmd": squared_mmd(g, r, median_distance(other))}
    assert MMD(2.0).fixed(other).bandwidth == 2.0


def test_bandwidth():
    with pytest.raises(BadInput, match="bandwidth"):
        MMD(bandwidth=0)
    with pytest.raises(BadInput, match="most of its rows are the same"):
        median_distance(np.ones((5, 2)))


def check_fixed_classes(groups=True):
    """Sets that hold just so many of each of three classes: with groups the mean is 0 over many sets, within 4 standard
    errors, and the value is the sum over all pairs of classes, each by its share."""
    rng, values = np.random.default_rng(2), []
    labels = np.repeat([0, 1, 2], [6, 4, 2])
    for _ in range(400):
        g, r = (rng.standard_normal((12, 2)) + 2.0 * labels[:, None] for _ in range(2))
        values.append(squared_mmd(g, r, 1.5, (labels, labels) if groups else None))
    assert abs(np.mean(values)) < 4 * np.std(values) / 20

    def share(a, b, same):
        total = 0.0
        for c in range(3):
            for e in range(3):
                x, y = np.flatnonzero(labels == c), np.flatnonzero(labels == e)
                pairs = [(i, j) for i in x for j in y if not (same and i == j)]
                k = np.mean([math.exp(-(math.dist(a[i], b[j]) ** 2) / (2 * 1.5**2)) for i, j in pairs])
                total += len(x) / 12 * len(y) / 12 * k
        return total

    assert values[-1] == pytest.approx(share(g, g, True) + share(r, r, True) - 2 * share(g, r, False))


def test_fixed_numbers_of_each_class():
    check_fixed_classes()


def test_fixed_numbers_that_are_not_minded_are_caught():
    assert_caught(check_fixed_classes, groups=False)
