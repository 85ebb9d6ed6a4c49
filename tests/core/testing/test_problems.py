"""The laboratory's problems against scipy, autograd, the chain rule of probability, and a curve in closed form."""

import ast
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy import stats
from sonolux.core.samplers.heun_exp import HeunExp
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing import base, ode
from sonolux.core.testing.base import AnalyticMixture, AnalyticProblem
from sonolux.core.testing.dense import DenseMixture, ar1_sequences, combine_observed
from sonolux.core.testing.distribution import moment_errors
from sonolux.core.testing.field import GaussianField, band_limited_field
from sonolux.core.testing.mixture import GaussianMixture, example_mixture
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    call_target,
    constant_target,
    drop_call,
    keep_left_operand,
    keep_right_operand,
    mutated_class,
    planted_error,
    replace_expression,
    scale_expression,
    set_argument,
    swap_constant,
    swap_operator,
    variable_target,
)
from sonolux.core.testing.ode import random_start, solve_ode
from sonolux.core.testing.orders import interior_order
from sonolux.core.testing.problems import example_problems
from sonolux.core.types import BadInput, Conditioning, NoiseLevel

LEVELS = [NoiseLevel(0.0, 0.6, 0.8), NoiseLevel(0.0, 1.0, 3.0), NoiseLevel(0.0, 0.2, 0.1)]
CLEAN, NOISE = NoiseLevel(0.0, 1.0, 0.0), NoiseLevel(1.0, 0.0, 1.0)


def at_random(shape, count=4, seed=1):
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- density, score, denoiser ----------------------------------------------------------------------------------------


def toeplitz(cls):
    """AR(1) with phi = 0.8, two channels: (problem, means, covariances by scipy)."""
    one = scipy.linalg.toeplitz(0.8 ** np.arange(5))
    covariance = scipy.linalg.block_diag(one, one)
    made = ar1_sequences(5, 0.8, channels=2)
    return cls(made.means.reshape(1, 2, 5), made.covariances), np.zeros((1, 10)), covariance[None], np.ones(1)


def clusters(cls):
    """A mixture with directions, its covariances multiplied out."""
    m = example_mixture(rank=2)
    own = [
        float(m.std[k]) ** 2 * np.eye(6) + ((m.basis[k].T * m.spread[k] ** 2) @ m.basis[k]).numpy() for k in range(3)
    ]
    made = m.dense()
    problem = cls(made.means.reshape(3, 2, 3), made.covariances, made.weights)
    return problem, m.means.numpy(), np.stack([np.asarray(c) for c in own]), m.weights.numpy()


def spectrum(cls):
    """A 2D field: the covariance is a sum of cosines over the frequencies."""
    made = band_limited_field((4, 3), cutoff=0.4, channels=1)
    P = made.power.numpy()
    places = np.array([(i, j) for i in range(4) for j in range(3)])
    away = places[:, None] - places[None]
    angle = (
        2
        * np.pi
        * (away[..., 0, None, None] * np.fft.fftfreq(4)[:, None] + away[..., 1, None, None] * np.fft.fftfreq(3))
    )
    covariance = (P * np.cos(angle)).mean((-1, -2))
    return cls(made.power), np.zeros((1, 12)), covariance[None], np.ones(1)


def check_density(problem, means, covariances, weights):
    """log p against scipy's normal, score by autograd, D by Tweedie's formula, posterior, both ends."""
    x = at_random(problem.shape)
    d = x[0].numel()
    for level in LEVELS:
        each = [
            stats.multivariate_normal(level.alpha * m, level.alpha**2 * c + level.sigma**2 * np.eye(d)).pdf(
                x.reshape(len(x), d).numpy()
            )
            for m, c in zip(means, covariances, strict=True)
        ]
        p = torch.as_tensor(np.stack(each, 1) * weights)
        assert torch.allclose(problem.log_density(x, level), torch.log(p.sum(1)), atol=1e-8)
        assert torch.allclose(problem.posterior(x, level), p / p.sum(1, keepdim=True), atol=1e-8)
        y = x.clone().requires_grad_()
        score = torch.autograd.grad(problem.log_density(y, level).sum(), y)[0]
        assert torch.allclose(problem.score(x, level), score, atol=1e-9)
        tweedie = (x + level.sigma**2 * score) / level.alpha
        assert torch.allclose(problem.denoise(x, level).x0, tweedie, atol=1e-8)
        assert torch.allclose(problem.eps(x, level), (x - level.alpha * tweedie) / level.sigma, atol=1e-8)
        assert torch.allclose(problem.flow(x, level), problem.eps(x, level) - tweedie, atol=1e-8)
    assert torch.allclose(problem.denoise(x, NOISE).x0.flatten(1), problem.mean.expand(len(x), d), atol=1e-9)
    assert torch.allclose(problem.denoise(x, CLEAN).x0, x, atol=1e-8)
    assert torch.allclose(problem.eps(x, CLEAN), torch.zeros_like(x))
    mean = weights @ means
    covariance = np.einsum("k,kij->ij", weights, covariances + (means - mean)[:, :, None] * (means - mean)[:, None])
    assert np.allclose(problem.mean, mean) and np.allclose(problem.covariance, covariance)
    assert math.isclose(problem.scale, min(np.linalg.eigvalsh(c)[0] for c in covariances) ** 0.5, rel_tol=1e-6)


MADE = {toeplitz: DenseMixture, clusters: DenseMixture, spectrum: GaussianField}


@pytest.mark.parametrize("made", MADE, ids=lambda f: f.__name__)
def test_density_score_and_denoiser(made):
    check_density(*made(MADE[made]))


PLANTED = [
    (clusters, DenseMixture, "_by_vectors", keep_left_operand(ast.Pow)),
    (clusters, DenseMixture, "components", replace_expression(argument_target("einsum", -1), "w")),
    (clusters, DenseMixture, "components", replace_expression(variable_target("s"), "s**2", at=1)),
    (clusters, AnalyticMixture, "_joint", keep_right_operand(ast.Add, at=-1)),
    (clusters, base, "gaussian_log_density", swap_operator(ast.Add, ast.Sub)),
    (toeplitz, DenseMixture, "_by_vectors", swap_constant("kij,bki->bkj", "kji,bki->bkj")),
    (toeplitz, DenseMixture, "scale", drop_call("sqrt")),
    (spectrum, GaussianField, "components", keep_left_operand(ast.Pow, at=-1)),
    (spectrum, GaussianField, "components", keep_right_operand(ast.Mult, near="power", at=1)),
    (
        spectrum,
        GaussianField,
        "components",
        replace_expression(call_target("expand_as"), "torch.log(total)[None, :, :1]"),
    ),
    (spectrum, GaussianField, "_modes", set_argument("fftn", "norm", "'backward'")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("made", "owner", "function", "error"), PLANTED)
def test_planted_error_is_caught(made, owner, function, error):
    with planted_error(owner, function, error):
        assert_caught(check_density, *made(MADE[made]))


def test_every_example_is_a_problem_of_unit_scale():
    shapes = set()
    for name, problem in example_problems().items():
        assert isinstance(problem, AnalyticProblem), name
        shapes.add(len(problem.shape) - 1)
        assert 0.5 < float(problem.covariance.diagonal().mean()) < 3, name
        x = problem.draw(3, seed=2)
        assert x.shape == (3, *problem.shape) and torch.equal(problem.draw(2, seed=2), x[:2]), name
        level = NoiseLevel(0.0, torch.tensor([1.0, 0.6, 0.0]), torch.tensor([0.5, 0.8, 1.0]))
        apart = [
            problem.denoise(x[i : i + 1], NoiseLevel(0.0, float(level.alpha[i]), float(level.sigma[i]))).x0
            for i in range(3)
        ]
        assert torch.allclose(problem.denoise(x, level).x0, torch.cat(apart), atol=1e-6), f"{name}: levels (B,)"
    assert shapes == {1, 2}, "1D and 2D shapes"


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in example_problems() if n != "mixture"])
def test_samples_have_the_mean_and_covariance(name):
    problem = example_problems()[name]
    found = moment_errors(problem.draw(2000), problem)
    d = len(problem.mean)
    assert found.mean < 4 / 2000**0.5
    spread = float(torch.trace(problem.covariance)) / float(problem.covariance.norm())  # of a Gaussian's covariance
    assert found.covariance < 2.5 * spread / 2000**0.5, (name, d)


def test_a_wrong_spectrum_of_samples_is_caught():
    problem = mutated_class(GaussianField, "draw", drop_call("sqrt"))(band_limited_field((64,)).power)
    assert moment_errors(problem.draw(2000), problem).covariance > 0.3


def test_bad_problems_are_refused():
    with pytest.raises(BadInput, match="phi"):
        ar1_sequences(8, 1.0)
    with pytest.raises(BadInput, match="every frequency"):
        GaussianField(torch.zeros(4))
    with pytest.raises(BadInput, match="at f and at -f"):
        GaussianField(torch.tensor([1.0, 2.0, 1.0, 1.0]))
    with pytest.raises(BadInput, match="cutoff"):
        band_limited_field((8,), floor=0.0)
    with pytest.raises(BadInput, match="need covariances"):
        DenseMixture(torch.zeros(2, 1, 3), torch.eye(3)[None])
    with pytest.raises(BadInput, match="negative"):
        DenseMixture(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 2.0], [2.0, 1.0]]]))
    with pytest.raises(BadInput, match="one level per sample"):
        band_limited_field((4,)).denoise(
            torch.zeros(1, 1, 4), NoiseLevel(0.0, torch.ones(1, 1, 4), torch.ones(1, 1, 4))
        )
    with pytest.raises(BadInput, match="mask"):
        ar1_sequences(4).conditioned_on(torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4))


# --- maps ------------------------------------------------------------------------------------------------------------


def check_map(cls):
    """A map against Tweedie's formula element by element, on scipy's density; a constant map against the number."""
    problem, means, covariances, weights = clusters(cls)
    x = at_random(problem.shape, count=2)
    sigma = torch.tensor([[[0.3, 0.9, 0.5]], [[1.0, 0.2, 0.7]]], dtype=torch.float64)  # (B, 1, 3)
    alpha = 1 - 0.5 * sigma
    level = NoiseLevel(0.0, alpha, sigma)
    a, s = (v.expand_as(x).reshape(2, -1) for v in (alpha, sigma))
    for i in range(2):
        A, S = np.diag(a[i]), np.diag(s[i] ** 2)
        p = [
            stats.multivariate_normal(A @ m, A @ c @ A + S).pdf(x[i].reshape(-1).numpy())
            for m, c in zip(means, covariances, strict=True)
        ]
        assert math.isclose(float(problem.log_density(x, level)[i]), math.log(np.dot(p, weights)), rel_tol=1e-9)
    y = x.clone().requires_grad_()
    score = torch.autograd.grad(problem.log_density(y, level).sum(), y)[0]
    assert torch.allclose(problem.denoise(x, level).x0, (x + sigma**2 * score) / alpha, atol=1e-9)
    assert torch.allclose(problem.eps(x, level), -sigma * score, atol=1e-9)
    even = NoiseLevel(0.0, torch.full((2, 1, 3), 0.6).double(), torch.full((2, 1, 3), 0.8).double())
    assert torch.allclose(problem.denoise(x, even).x0, problem.denoise(x, LEVELS[0]).x0, atol=1e-12)


def test_maps():
    check_map(DenseMixture)


@pytest.mark.parametrize(
    "error",
    [
        keep_left_operand(ast.Mult, at=1),
        replace_expression(argument_target("diag_embed", 0), "s"),
        keep_right_operand(ast.Mult, at=-1),
    ],
)
def test_planted_error_in_maps_is_caught(error):
    assert_caught(check_map, mutated_class(DenseMixture, "_by_cholesky", error))


def test_clean_elements_of_a_map_stay_and_tell_of_the_others():
    problem = ar1_sequences(8, 0.9)
    x = problem.draw(1)
    sigma = torch.ones(1, 1, 8, dtype=torch.float64)
    sigma[..., 3] = 0.0
    told = problem.denoise(x, NoiseLevel(0.0, 1 - sigma, sigma)).x0  # element 3 is seen, the others are pure noise
    away = (torch.arange(8) - 3).abs().double()
    assert torch.allclose(told[0, 0], x[0, 0, 3] * 0.9**away, atol=1e-12)


# --- conditionals ----------------------------------------------------------------------------------------------------


def masked(shape):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask.reshape(-1)[::3] = True
    return mask


def check_given(low_rank, full):
    """log p(rest | y) + log p(y) = log p(x), for exact and for noisy y; the low-rank way agrees with the dense one."""
    source = example_mixture(shape=(2, 4), rank=2)
    made = source.dense()
    m = low_rank(source.means.reshape(3, 2, 4), source.std, source.weights, source.basis, source.spread)
    whole = full(made.means.reshape(3, 2, 4), made.covariances, made.weights)
    mask, x = masked((2, 4)), at_random((2, 4), 3)
    for seen in x:
        joint = whole.log_density(seen[None], CLEAN)
        y, rest = seen[mask].reshape(1, 1, -1), seen[~mask].reshape(1, 1, -1)
        told = joint - DenseMixture(made.means.reshape(3, 2, 4), made.covariances, made.weights).marginal(
            mask
        ).log_density(y, CLEAN)
        assert torch.allclose(m.conditioned_on(mask, seen).log_density(rest, CLEAN), told, atol=1e-8)
        assert torch.allclose(
            whole.conditioned_on(mask, seen).marginal(~mask).log_density(rest, CLEAN), told, atol=1e-8
        )
        # y seen through noise: log p(x | y) = log p(x) + log N(y; x[mask], noise^2) - log p(y)
        noise = 0.4
        noisy = seen + noise * at_random((2, 4), 1, seed=7)[0]
        y = noisy[mask].reshape(1, 1, -1)
        like = stats.norm(seen[mask].numpy(), noise).logpdf(noisy[mask].numpy()).sum()
        evidence = whole.marginal(mask).log_density(y, NoiseLevel(0.0, 1.0, noise))
        after = whole.conditioned_on(mask, noisy, noise)
        assert torch.allclose(after.log_density(seen[None], CLEAN), joint + like - evidence, atol=1e-8)
        theirs = after.marginal(~mask).log_density(rest, CLEAN)
        assert torch.allclose(m.conditioned_on(mask, noisy, noise).log_density(rest, CLEAN), theirs, atol=1e-8)


def test_conditionals():
    check_given(GaussianMixture, DenseMixture)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "error"),
    [
        (GaussianMixture, swap_operator(ast.Sub, ast.Add, at=1)),
        (GaussianMixture, keep_left_operand(ast.Add, near="v", at=-1)),
        (GaussianMixture, swap_operator(ast.Add, ast.Sub, near="mean_a", at=-1)),
        (GaussianMixture, keep_left_operand(ast.Pow, at=1)),
        (DenseMixture, swap_operator(ast.Add, ast.Sub, near="gain")),
        (DenseMixture, scale_expression(ast.MatMult, 0.5)),
        (DenseMixture, keep_left_operand(ast.Add, near="weights")),
        (DenseMixture, keep_left_operand(ast.Pow)),
    ],
)
def test_planted_error_in_conditionals_is_caught(cls, error):
    with planted_error(cls, "conditioned_on", error):
        assert_caught(check_given, GaussianMixture, DenseMixture)


@pytest.mark.slow
def test_samples_of_a_conditional_hold_what_was_seen():
    problem, mask = ar1_sequences(12, 0.9), torch.zeros(1, 12, dtype=torch.bool)
    mask[0, [2, 7]] = True
    seen = problem.draw(1)[0]
    after = problem.conditioned_on(mask, seen)
    x = after.draw(1000)
    assert torch.equal(x[:, mask], seen[mask].expand(1000, 2))
    assert torch.allclose(x.mean(0)[0], after.mean, atol=0.1)
    between = torch.as_tensor([0.9**i for i in (1, 4)])  # element 3 lies 1 from one that was seen, and 4 from the other
    own = torch.tensor([[1, 0.9**5], [0.9**5, 1]], dtype=torch.float64)
    expected = between.double() @ torch.linalg.solve(own, seen[0, [2, 7]])
    assert torch.allclose(after.mean[3], expected, atol=1e-9)
    rest = GaussianMixture(torch.zeros(1, 1, 4), 0.5).conditioned_on(
        torch.tensor([[True, False, True, False]]), torch.ones(1, 4)
    )
    filled = combine_observed(torch.tensor([[True, False, True, False]]), torch.ones(1, 4), rest.draw(3))
    assert filled.shape == (3, 1, 4) and bool((filled[:, 0, [0, 2]] == 1).all())
    assert torch.isfinite(after.denoise(x[:3], LEVELS[0]).x0).all(), "a singular conditional denoises too"


def test_low_rank_conditionals_work_in_any_dimension():
    big = example_mixture(shape=(3, 32, 32), rank=3)
    left = torch.zeros(1, 32, 32, dtype=torch.bool)
    left[..., :16] = True
    x, labels = big.sample(2)
    rest = big.conditioned_on(left, x[0])
    assert rest.shape == (1, 3 * 32 * 16) and int(rest.weights.argmax()) == int(labels[0])
    expected = rest.mean.reshape(3, 32, 16)
    error = (expected - x[0, ..., 16:]).square().mean().sqrt()
    assert abs(float(error) / float(big.std[labels[0]]) - 1) < 0.05, "what is left is the noise of the component"


def test_a_class_is_a_component_of_a_dense_mixture():
    m = example_mixture().dense()
    x, level = at_random((2, 3)), LEVELS[0]
    alone = DenseMixture(m.means[1:2].reshape(1, 2, 3), m.covariances[1:2])
    told: Conditioning = m.conditions(torch.ones(4, dtype=torch.long))
    assert torch.allclose(m.denoise(x, level, told).x0, alone.denoise(x, level).x0, atol=1e-12)
    assert torch.allclose(m.denoise(x, level, told.without()).x0, example_mixture().denoise(x, level).x0, atol=1e-12)


# --- curves and orders -----------------------------------------------------------------------------------------------


def check_curve(problem, solver):
    """One Gaussian: along an eigenvector of its covariance x - alpha mean grows as sqrt(alpha^2 v + sigma^2)."""
    v, V = torch.linalg.eigh(problem.covariance)
    for schedule in (EDM(), VPLinear(), RectifiedFlow()):
        levels = [schedule.level(schedule.t_max), schedule.level_of_rho(0.7), schedule.clean()]
        x = random_start(problem, levels[0], 2)
        for level, point in zip(levels, solver(problem, x, levels), strict=True):
            root = [(a.alpha**2 * v + a.sigma**2).sqrt() for a in (levels[0], level)]
            expected = x.flatten(1) @ V @ torch.diag(root[1] / root[0]) @ V.T
            assert torch.allclose(point.flatten(1), expected, atol=1e-9, rtol=0), type(schedule).__name__


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ar1", "field_1d", "field_2d"])
def test_exact_curves(name):
    check_curve(example_problems()[name], solve_ode)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("_midpoint", replace_expression(constant_target(2), "1")),
        ("_midpoint", keep_left_operand(ast.Add, at=-1)),
        ("solve_ode", keep_left_operand(ast.Add)),
    ],
)
def test_planted_error_in_the_curve_is_caught(function, error):
    with planted_error(ode, function, error):
        assert_caught(check_curve, ar1_sequences(6), ode.solve_ode)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["planes", "ar1", "field_2d"])
def test_orders_can_be_read_on_every_problem(name):
    found = interior_order(HeunExp(), RectifiedFlow(), problem=example_problems()[name], count=4)
    assert abs(found.slope - 2) < 0.25 and found.is_finite
