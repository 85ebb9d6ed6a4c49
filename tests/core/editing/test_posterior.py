"""DPS, PiGDM and MMPS: the estimate against the closed form, and samples against the closed-form posterior."""

import ast
import sys
from pathlib import Path

import pytest
import sonolux
import torch
from sonolux.core.degradations.crop import Crop
from sonolux.core.editing.posterior import mmps, pigdm
from sonolux.core.editing.posterior.base import MeasuredEstimate, Observation, PosteriorEdit, conjugate_gradients
from sonolux.core.editing.posterior.dps import DPS
from sonolux.core.editing.posterior.mmps import MMPS
from sonolux.core.editing.posterior.pigdm import PiGDM
from sonolux.core.guidance.base import SamplingRun
from sonolux.core.testing.dense import DenseMixture, measured
from sonolux.core.testing.mutation import assert_caught, planted_error, scale_expression, swap_operator, variable_target
from sonolux.core.types import Conditioning, NoiseLevel
from sonolux.core.util.rng import KeyedNoise

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import posterior as benchmark

GAUSSIAN = benchmark.problems()["gaussian"]
WHITE = DenseMixture(torch.zeros(1, *GAUSSIAN.shape), torch.eye(GAUSSIAN.mean.numel(), dtype=torch.float64)[None])
LEVELS = [NoiseLevel(t, 1 - t, t) for t in (0.9, 0.5, 0.1)]
NOISE = 0.1


def wrapped(data, operator, y, method, decode=lambda z: z):
    run = SamplingRun(KeyedNoise(0, list(range(len(y))), data.shape, dtype=torch.float64))
    return PosteriorEdit(Observation(operator, y, NOISE, decode), method).wrap_guided(data, run)


def check_estimate(data, method, operators=tuple(benchmark.OPERATORS)):
    """The estimate is E[x0 | x, y], which follows from p(x0 | y) as its own data."""
    x0 = data.draw(4, 1)
    z = KeyedNoise(1, range(4), data.shape, dtype=torch.float64).normal("test")
    for name in operators:
        operator = benchmark.OPERATORS[name]
        y = operator.apply(x0)
        y = y + NOISE * KeyedNoise(2, range(4), tuple(y.shape[1:]), dtype=torch.float64).normal("test")
        exact = [measured(data, benchmark.as_matrix(operator, data.shape), row.flatten(), NOISE) for row in y]
        for level in LEVELS:
            x = level.alpha * x0 + level.sigma * z
            made = wrapped(data, operator, y, method).denoise(x, level, Conditioning()).x0
            wanted = torch.cat([one.denoise(x[i : i + 1], level).x0 for i, one in enumerate(exact)])
            assert torch.allclose(made, wanted, atol=1e-6), f"{name} at {level.t}"


def test_mmps_is_exact_for_gaussian_data():
    check_estimate(GAUSSIAN, MMPS(60))


def test_pigdm_is_exact_for_white_data_and_only_for_these():
    check_estimate(WHITE, PiGDM())
    assert_caught(check_estimate, GAUSSIAN, PiGDM())


@pytest.mark.parametrize(("module", "cls"), [(mmps, MMPS), (pigdm, PiGDM)])
def test_a_planted_error_of_the_covariance_is_caught(module, cls):
    with planted_error(cls, "weights", swap_operator(ast.Add, ast.Sub)):
        assert_caught(check_estimate, WHITE, cls(), ("downsample",))


def test_a_planted_error_of_the_coefficient_is_caught():
    with planted_error(MeasuredEstimate, "__init__", scale_expression(variable_target("sigma"), 1.1)):
        assert_caught(check_estimate, GAUSSIAN, MMPS(60), ("low_pass",))


def test_the_decoder_takes_part():
    """A scaled decoder is a scaled operator; a nonlinear one has its derivative at the estimate."""
    x0 = WHITE.draw(3, 1)
    y = Crop().apply(x0)
    level = LEVELS[1]
    x = level.alpha * x0 + 0.3 * torch.randn(x0.shape, dtype=x0.dtype, generator=torch.Generator().manual_seed(0))
    for method in (DPS(1.0), PiGDM(), MMPS(40)):
        scaled = wrapped(WHITE, Crop(), 2 * y, method, lambda z: 2 * z + 0 * z**2).denoise(x, level, Conditioning()).x0
        curved = wrapped(WHITE, Crop(), torch.sinh(y), method, torch.sinh).denoise(x, level, Conditioning()).x0
        plain = WHITE.denoise(x, level).x0
        for made in (scaled, curved):
            assert (Crop().apply(made) - y).norm() < 0.9 * (Crop().apply(plain) - y).norm()
        assert torch.allclose(curved[..., :4], plain[..., :4]), "white data: what is not measured does not change"


def test_at_pure_noise_the_estimate_is_not_changed():
    y = Crop().apply(WHITE.draw(2, 1))
    x = torch.ones(2, *WHITE.shape, dtype=torch.float64)
    made = wrapped(WHITE, Crop(), y, MMPS()).denoise(x, NoiseLevel(1.0, 0.0, 1.0), Conditioning()).x0
    assert torch.equal(made, WHITE.denoise(x, NoiseLevel(1.0, 0.0, 1.0)).x0)


def test_conjugate_gradients_solve_each_sample_by_itself():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 6, 6, dtype=torch.float64, generator=generator)
    matrix, b = root @ root.mT + torch.eye(6), torch.randn(3, 6, dtype=torch.float64, generator=generator)
    b[1] = 0
    made = conjugate_gradients(lambda u: torch.einsum("bij,bj->bi", matrix, u), b, 30)
    assert torch.allclose(made, torch.linalg.solve(matrix, b), atol=1e-9)
    assert torch.equal(conjugate_gradients(lambda u: -u, b, 5), torch.zeros_like(b)), "not positive: nothing is solved"


def check_samples(method, operator="downsample", largest=0.05):
    found, _ = benchmark.measure(GAUSSIAN, benchmark.OPERATORS[operator], method, 1500, 40)
    assert found.bias < largest, f"the mean is off by {found.bias:.1%}"
    assert 0.9 < found.spread < 1.15, f"the spread is {found.spread:.2f} times that of the posterior"


@pytest.mark.slow
@pytest.mark.parametrize("operator", ["downsample", "low_pass", "band"])
def test_posterior_means_of_mmps(operator):
    check_samples(MMPS(20), operator)


@pytest.mark.slow
def test_posterior_means_of_pigdm():
    check_samples(PiGDM())


@pytest.mark.slow
def test_dps_is_biased():
    assert_caught(check_samples, DPS())
    check_samples(DPS(), largest=0.2)


@pytest.mark.slow
def test_a_planted_error_of_samples_is_caught():
    with planted_error(MMPS, "weights", scale_expression(variable_target("u"), 3.0)):
        assert_caught(check_samples, MMPS(20))


def test_guidance_of_the_run_is_kept_and_gradients_are_switched_on_inside():
    y = Crop().apply(GAUSSIAN.draw(2, 1))
    made = sonolux.sample(
        GAUSSIAN, (2, *GAUSSIAN.shape), steps=4, edits=[PosteriorEdit(Observation(Crop(), y.float(), NOISE), MMPS())]
    )
    assert not made.requires_grad and torch.isfinite(made).all()
