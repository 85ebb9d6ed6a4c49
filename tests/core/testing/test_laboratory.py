"""The laboratory itself: the mixture against scipy and autograd, its curves against a closed form."""

import ast
import math

import pytest
import torch
from scipy import stats
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing import mixture
from sonolux.core.testing.mixture import GaussianMixture, example_mixture
from sonolux.core.testing.mutation import (
    assert_caught,
    keep_left_operand,
    keep_right_operand,
    planted_error,
    swap_operator,
)
from sonolux.core.testing.ode import random_start, solve_in_tau, solve_ode
from sonolux.core.testing.orders import MeasuredOrder
from sonolux.core.types import BadInput, NoiseLevel

LEVELS = [NoiseLevel(0.0, 0.6, 0.8), NoiseLevel(0.0, 1.0, 3.0), NoiseLevel(0.0, 0.2, 0.1)]


def at_random(mixture, count=5, seed=1):
    shape = (count, *mixture.shape)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def check_density(cls, rank):
    """log p against scipy's multivariate normal; score by autograd; D by Tweedie's formula."""
    source = example_mixture(rank=rank)
    m = cls(source.means.reshape(3, 2, 3), source.std, source.weights, source.basis, source.spread)
    x = at_random(m)
    for level in LEVELS:
        expected = 0.0
        for k in range(3):
            own = torch.eye(6).double() * m.std[k] ** 2 + (m.basis[k].mT * m.spread[k] ** 2) @ m.basis[k]
            covariance = level.alpha**2 * own + level.sigma**2 * torch.eye(6).double()
            normal = stats.multivariate_normal(level.alpha * m.means[k].numpy(), covariance.numpy())
            expected = expected + float(m.weights[k]) * normal.pdf(x.reshape(5, 6).numpy())
        log_p = m.log_density(x, level)
        assert torch.allclose(log_p, torch.log(torch.as_tensor(expected)), atol=1e-9)
        y = x.clone().requires_grad_()
        score = torch.autograd.grad(m.log_density(y, level).sum(), y)[0]
        assert torch.allclose(m.score(x, level), score, atol=1e-9)
        tweedie = (x + level.sigma**2 * score) / level.alpha
        assert torch.allclose(m.denoise(x, level).x0, tweedie, atol=1e-9)
        assert torch.allclose(m.eps(x, level), (x - level.alpha * tweedie) / level.sigma, atol=1e-9)
        assert torch.allclose(m.flow(x, level), m.eps(x, level) - tweedie, atol=1e-9)
        assert torch.allclose(m.posterior(x, level).sum(1), torch.ones(5).double())


@pytest.mark.parametrize("rank", [0, 2])
def test_density_score_and_denoiser(rank):
    check_density(GaussianMixture, rank)


@pytest.mark.parametrize(
    ("owner", "function", "error"),
    [
        (mixture, "_data_share", keep_right_operand(ast.Mult)),
        (mixture, "_noise_share", keep_right_operand(ast.Div)),
        (GaussianMixture, "_log_weights", keep_left_operand(ast.Div, at=-1)),
        (GaussianMixture, "_log_weights", swap_operator(ast.Add, ast.Sub, at=1)),
        (GaussianMixture, "_log_weights", keep_left_operand(ast.Sub, near="wide", at=-1)),
    ],
)
def test_planted_error_in_the_mixture_is_caught(owner, function, error):
    with planted_error(owner, function, error):
        assert_caught(check_density, GaussianMixture, 2)


def test_the_ends_are_finite():
    for m in (example_mixture(), example_mixture(rank=2)):
        x = at_random(m)
        noise, clean = NoiseLevel(1.0, 0.0, 1.0), NoiseLevel(0.0, 1.0, 0.0)
        assert torch.allclose(m.denoise(x, noise).x0.reshape(5, -1), m.mean.expand(5, -1))
        assert torch.allclose(m.denoise(x, clean).x0, x)
        assert torch.equal(m.eps(x, clean), torch.zeros_like(x))


def test_a_map_agrees_with_numbers():
    m = example_mixture(shape=(2, 4))
    x = at_random(m)
    alpha, sigma = torch.full((5, 1, 4), 0.6).double(), torch.full((5, 1, 4), 0.8).double()
    assert torch.allclose(
        m.denoise(x, NoiseLevel(0.0, alpha, sigma)).x0, m.denoise(x, NoiseLevel(0.0, 0.6, 0.8)).x0, atol=1e-14
    )
    alpha[:, :, 0], sigma[:, :, 0] = 1.0, 0.0
    mixed = m.denoise(x, NoiseLevel(0.0, alpha, sigma)).x0
    assert torch.allclose(mixed[:, :, 0], x[:, :, 0]) and torch.isfinite(mixed).all()
    with pytest.raises(BadInput, match="not a map"):
        example_mixture(shape=(2, 4), rank=1).denoise(x, NoiseLevel(0.0, alpha, sigma))


@pytest.mark.slow
def test_samples_have_the_moments_and_do_not_depend_on_their_number():
    m = example_mixture(rank=2)
    x, labels = m.sample(20_000)
    flat = x.reshape(len(x), -1)
    assert torch.allclose(flat.mean(0), m.mean, atol=0.03)
    assert torch.allclose(torch.cov(flat.T), m.covariance, atol=0.06)
    assert torch.allclose(torch.bincount(labels).double() / len(x), m.weights, atol=0.02)
    assert torch.equal(m.sample(3)[0], x[:3])


def test_a_class_is_a_component():
    m = example_mixture()
    x, level = at_random(m), LEVELS[0]
    alone = GaussianMixture(m.means[1:2].reshape(1, 2, 3), float(m.std[1]))
    told = m.conditions(torch.ones(5, dtype=torch.long))
    assert torch.allclose(m.denoise(x, level, told).x0, alone.denoise(x, level).x0, atol=1e-12)
    assert torch.allclose(m.denoise(x, level, told.without()).x0, m.denoise(x, level).x0, atol=1e-12)


def check_curve(curve_of):
    """One Gaussian: x - alpha mu grows as sqrt(alpha^2 v + sigma^2) along every direction."""
    mean = torch.tensor([[[0.7, -0.2]]], dtype=torch.float64)
    m = GaussianMixture(mean, 0.3)
    for schedule in (EDM(), VPLinear(), RectifiedFlow()):
        levels = [schedule.level(schedule.t_max), schedule.level_of_rho(0.7), schedule.clean()]
        x = random_start(m, levels[0], 3)
        for level, point in zip(levels, curve_of(m, x, levels), strict=True):
            spread = [(a.alpha**2 * 0.09 + a.sigma**2) ** 0.5 for a in (levels[0], level)]
            expected = level.alpha * mean + (x - levels[0].alpha * mean) * spread[1] / spread[0]
            assert torch.allclose(point, expected, atol=1e-10), type(schedule).__name__


@pytest.mark.slow
def test_curves_of_one_gaussian():
    check_curve(solve_ode)


@pytest.mark.slow
def test_a_wrong_scale_of_the_curve_is_caught():
    def wrong(m, x, levels):
        return [p * float(a.alpha) for p, a in zip(solve_ode(m, x, levels), levels, strict=True)]

    assert_caught(check_curve, wrong)


@pytest.mark.slow
def test_curves_do_not_depend_on_the_steps_of_their_method():
    m = example_mixture(rank=1)
    u = random_start(m, NoiseLevel(1.0, 0.0, 1.0), 3)
    coarse, fine = (solve_in_tau(m, u, [1.0, 0.4, 0.0], density=n)[-1] for n in (12, 40))
    assert torch.allclose(coarse, fine, atol=1e-12, rtol=0)
    back = solve_in_tau(m, fine, [0.0, 1.0])[-1]
    assert torch.allclose(back, u, atol=1e-10)


def test_the_slope_is_the_order():
    steps = (8, 16, 32)
    assert MeasuredOrder(steps, tuple(3 * n**-2.0 for n in steps)).slope == pytest.approx(2, abs=1e-5)
    assert not MeasuredOrder(steps, (1.0, math.nan, 0.1)).is_finite
