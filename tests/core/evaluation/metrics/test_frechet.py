"""The Frechet distance against closed forms and scipy's matrix root, with planted errors."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sonolux.core.evaluation.metrics import frechet
from sonolux.core.evaluation.metrics.frechet import Frechet, frechet_distance
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput


def exactly(rng, n, mean, covariance):
    """n rows whose sample mean and unbiased sample covariance are just these."""
    d = len(mean)
    z = rng.standard_normal((n, d))
    z -= z.mean(axis=0)
    white = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / (n - 1))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def random_covariance(rng, d):
    a = rng.standard_normal((d, d))
    return a @ a.T / d + 0.1 * np.eye(d)


def check_diagonal():
    """Commuting covariances: d^2 = |m1 - m2|^2 + sum (s1 - s2)^2."""
    rng = np.random.default_rng(0)
    s1, s2, m1, m2 = np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.2, 0.5]), np.zeros(3), np.array([1.0, -2.0, 0.25])
    g, r = exactly(rng, 12, m1, np.diag(s1**2)), exactly(rng, 30, m2, np.diag(s2**2))
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()
    assert frechet_distance(g, r) == pytest.approx(expected, rel=1e-10)


def check_scipy():
    """General covariances: the textbook formula with scipy's matrix root as referee."""
    rng = np.random.default_rng(1)
    for d in (2, 7, 40):
        c1, c2, shift = random_covariance(rng, d), random_covariance(rng, d), rng.standard_normal(d)
        g, r = exactly(rng, 2 * d + 3, np.zeros(d), c1), exactly(rng, 3 * d, shift, c2)
        expected = shift @ shift + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))
        assert frechet_distance(g, r) == pytest.approx(expected, rel=1e-8)


CHECKS = [check_diagonal, check_scipy]


@pytest.mark.parametrize("check", CHECKS)
def test_values(check):
    check()


def biased(rows):
    return np.linalg.qr(rows - rows.mean(axis=0), mode="r") / np.sqrt(len(rows))


def uncentred(rows):
    return np.linalg.qr(rows + 1.0, mode="r") / np.sqrt(len(rows) - 1)


def transposed(rows):
    return np.linalg.qr(rows - rows.mean(axis=0), mode="r").T / np.sqrt(len(rows) - 1)


@pytest.mark.parametrize(
    ("check", "planted"),
    [
        (check_diagonal, biased),
        (check_diagonal, uncentred),
        (check_scipy, biased),
        (check_scipy, uncentred),
        (check_scipy, transposed),  # not seen with diagonal covariances: R is its own transpose there
    ],
)
def test_planted_root_is_caught(check, planted, monkeypatch):
    monkeypatch.setattr(frechet, "_root", planted)
    assert_caught(check)


def test_planted_cross_term_is_caught(monkeypatch):
    real = np.linalg.svd
    monkeypatch.setattr(frechet.np.linalg, "svd", lambda a, compute_uv: real(a, compute_uv=False) ** 2)
    assert_caught(check_diagonal)


def test_same_rows_are_at_distance_zero_even_where_covariances_are_singular():
    rows = np.random.default_rng(2).standard_normal((10, 64))  # rank 9 of 64
    rows[:, 3] = 7.0
    assert frechet_distance(rows, rows[::-1]) == pytest.approx(0, abs=1e-12)


def test_singular_covariances_keep_their_digits():
    """Two rank-one sets in orthogonal directions: tr S1 + tr S2, since S1 S2 = 0."""
    g, r = np.zeros((20, 30)), np.zeros((20, 30))
    g[:, 0], r[:, 1] = np.linspace(-1, 1, 20), np.linspace(-2, 2, 20)
    expected = g[:, 0].var(ddof=1) + r[:, 1].var(ddof=1)
    assert frechet_distance(g, r) == pytest.approx(expected, rel=1e-12)


def test_it_falls_with_the_number_of_rows():
    """The reason for the floor: N(0, I) against itself is at about 1/N, not at 0."""
    rng = np.random.default_rng(3)
    small, large = (frechet_distance(rng.standard_normal((n, 8)), rng.standard_normal((n, 8))) for n in (100, 1600))
    assert 0 < large < small / 8


def test_torch_and_numpy_agree():
    g, r = torch.randn(20, 4), torch.randn(30, 4)
    assert frechet_distance(g, r) == frechet_distance(g.double().numpy(), r.double().numpy())


def test_the_component_names_its_result():
    g, r = np.random.default_rng(4).standard_normal((2, 20, 3))
    assert Frechet()(g, r) == {"frechet": frechet_distance(g, r)} and [x.key for x in Frechet.results] == ["frechet"]


@pytest.mark.parametrize(
    ("g", "r", "words"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "same extractor"),
        (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "5 of 5 rows"),
        (np.zeros(5), np.zeros((5, 1)), "shape"),
    ],
)
def test_bad_arrays(g, r, words):
    with pytest.raises(BadInput, match=words):
        frechet_distance(g, r)
