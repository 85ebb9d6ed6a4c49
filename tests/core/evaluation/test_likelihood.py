"""Likelihood against exact log densities on every kind of schedule, by both divergences; codecs, padding, classes."""

import ast
import itertools
import math

import pytest
import sonolux
import torch
from sonolux.core.config.registry import find_class
from sonolux.core.evaluation import likelihood as module
from sonolux.core.evaluation.likelihood import LikelihoodResult, likelihood_of_items, log_likelihood
from sonolux.core.nn.model import UserModuleDenoiser
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.ve import VE
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.dense import DenseMixture, ar1_sequences
from sonolux.core.testing.field import band_limited_field
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    attribute_target,
    call_target,
    keep_left_operand,
    keep_right_operand,
    negate_expression,
    planted_error,
    replace_expression,
    scale_expression,
    set_argument,
    swap_operands,
    swap_operator,
    variable_target,
)
from sonolux.core.training.build import build_dataset
from sonolux.core.types import BadInput, Conditioning, Estimate, NoiseLevel
from torch import nn

SCHEDULES = (VPLinear(), EDM(), RectifiedFlow())
PROBLEMS = {
    "mixture": example_mixture(),
    "planes": example_mixture(rank=2),
    "ar1": ar1_sequences(16),
    "field": band_limited_field((6, 6)),
}


def exact(problem, x, found, conditions=None):
    """log p of the data with the noise that the quietest level holds, at x."""
    return problem.log_density(x, NoiseLevel(0.0, 1.0, float(found.level.rho)), conditions)


def bits_off(problem, x, found):
    return float((found.bits_per_dimension + exact(problem, x, found) / (found.dimensions * math.log(2))).abs().max())


def check_exact(function, name, schedule):
    """The exact divergence, begun from the exact marginal: within 1e-5 bits per dimension of the density."""
    problem = PROBLEMS[name]
    x = problem.draw(3, seed=5)
    own = None if float(schedule.level(schedule.t_max).alpha) == 0 else problem.log_density
    found = function(problem, schedule, x, divergence="exact", prior=own)
    off = bits_off(problem, x, found)
    assert off < 1e-5, f"off by {off:.1e} bits per dimension"
    assert float(found.uncertainty.max()) == 0 and found.nfe == 6 * (32 + 16 + 8) + 3
    assert torch.equal(found.dimensions, torch.full((3,), float(x[0].numel())).double())


def check_gaussian(function, name, schedule):
    """The Gaussian that stands for the marginal at the noisiest level costs little: 1e-4 bits on VP, 2e-4 on EDM."""
    problem = PROBLEMS[name]
    x = problem.draw(3, seed=5)
    mean, std = (v.reshape(problem.shape) for v in (problem.mean, problem.covariance.diagonal().sqrt()))
    off = bits_off(problem, x, function(problem, schedule, x, divergence="exact", mean=mean, std=std))
    assert off < (2e-4 if isinstance(schedule, EDM) else 1e-4), f"off by {off:.1e} bits per dimension"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "schedule"),
    [*((name, SCHEDULES[2]) for name in PROBLEMS), *itertools.product(("mixture", "ar1"), SCHEDULES[:2])],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_exact_divergence(name, schedule):
    """Every problem on one schedule, and two problems on every schedule: a problem knows no schedule."""
    check_exact(log_likelihood, name, schedule)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES[:2], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", ["mixture", "ar1"])
def test_the_gaussian_at_the_noisiest_level(name, schedule):
    check_gaussian(log_likelihood, name, schedule)


FIELD, WRONG_ROW = module._Field, (44 / 45, -56 / 15, 31 / 9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "function", "error", "name", "schedule"),
    [
        (FIELD, "__call__", swap_operands(ast.Sub, near="count"), "ar1", RectifiedFlow()),  # sign
        (FIELD, "__call__", keep_right_operand(ast.Mult, near="trace"), "ar1", EDM()),  # the chain rule through u
        (module, "_gaussian", keep_left_operand(ast.Pow, near="sigma"), "ar1", EDM()),  # prior
        (module, "_gaussian", keep_right_operand(ast.Mult, near="s"), "ar1", VPLinear()),  # prior without alpha
        (module, "_gaussian", swap_operator(ast.Sub, ast.Add, near="alpha"), "mixture", EDM()),
        (
            module,
            "log_likelihood",
            scale_expression(variable_target("shift"), 0.0),
            "ar1",
            VPLinear(),
        ),  # density of u, not of x
        (module, "log_likelihood", swap_operator(ast.Add, ast.Sub, near="size"), "ar1", VPLinear()),
        (FIELD, "__call__", scale_expression(ast.Div, 1 / 1.01, near="mask"), "ar1", RectifiedFlow()),
        (module, "_A", (*module._A[:3], WRONG_ROW, *module._A[4:]), "ar1", RectifiedFlow()),
    ],
)
def test_planted_error_is_caught(owner, function, error, name, schedule):
    check = check_gaussian if function == "_gaussian" else check_exact
    with planted_error(owner, function, error):
        assert "bits per dimension" in assert_caught(check, log_likelihood, name, schedule)


@pytest.mark.slow
def test_the_method_is_of_fifth_order_and_its_own_estimate_of_the_error_is_honest():
    problem, x = PROBLEMS["ar1"], PROBLEMS["ar1"].draw(4)
    found = {n: log_likelihood(problem, RectifiedFlow(), x, divergence="exact", steps=n) for n in (8, 16, 32)}
    off = {n: float((f.log_p - exact(problem, x, f)).abs().mean()) for n, f in found.items()}
    assert off[32] < off[8] / 4**4.5 and off[32] < 1e-5
    assert off[8] / 3 < float(found[8].step_error.mean()) < 10 * off[8]


def correlated(correlation, scale):
    """A mixture in two dimensions whose components are narrow and turned."""
    covariance = scale * torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    turned = covariance * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    means = torch.tensor([[[1.0, 1.0]], [[-1.0, -1.0]], [[1.0, -1.0]]])
    return DenseMixture(means, torch.stack([covariance, turned, covariance]))


def check_step_error(function, correlation, scale):
    """The stated error is not below the true one by more than a third, in the mean over rows, at 16 and 32 steps."""
    problem = correlated(correlation, scale)
    x = problem.draw(128, seed=5)
    for steps in (16, 32):
        found = function(problem, RectifiedFlow(), x, divergence="exact", steps=steps)
        off, stated = (found.log_p - exact(problem, x, found)).abs(), found.step_error
        assert float(off.mean()) < 1.5 * float(stated.mean()), "the error of integration is not understated"
        assert float(stated.mean()) < 60 * float(off.mean()), "nor overstated out of reason"
        assert float((off > 3 * stated).double().mean()) < 0.25, "and holds for most rows"


@pytest.mark.slow
@pytest.mark.parametrize(("correlation", "scale"), [(0.9, 0.3), (0.999, 0.1), (0.999, 0.01)])
def test_the_stated_error_holds_on_correlated_data(correlation, scale):
    check_step_error(log_likelihood, correlation, scale)


@pytest.mark.slow
def test_an_error_that_is_understated_is_caught():
    with planted_error(module, "_step_error", replace_expression(call_target("maximum"), "_ / 50")):
        assert_caught(check_step_error, log_likelihood, 0.999, 0.01)


def test_few_steps_state_no_error():
    x = PROBLEMS["ar1"].draw(2)
    assert bool(
        log_likelihood(PROBLEMS["ar1"], RectifiedFlow(), x, divergence="exact", steps=3).step_error.isnan().all()
    )


# --- Hutchinson's estimate -------------------------------------------------------------------------------------------


def check_hutchinson(function):
    """Within three standard errors of the exact figure: row by row mostly, and in the mean; the errors shrink."""
    problem = band_limited_field((10, 8))  # too large for the exact divergence by default
    x = problem.draw(12, seed=3)
    found = function(problem, RectifiedFlow(), x, probes=16, steps=12)
    off = found.log_p - exact(problem, x, found)
    assert bool((found.uncertainty > 0).all())
    assert float((off.abs() < 3 * found.uncertainty).double().mean()) > 0.8
    mean_off = float((off / (found.dimensions * math.log(2))).mean())
    assert abs(mean_off) < 3 * found.standard_error < 0.1, f"{mean_off:.4f} +- {found.standard_error:.4f}"
    few = function(problem, RectifiedFlow(), x, probes=4, steps=12)
    assert 1.4 < few.standard_error / found.standard_error < 2.9


@pytest.mark.slow
def test_hutchinson():
    check_hutchinson(log_likelihood)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "function", "error"),
    [
        (module._Hutchinson, "estimate", keep_left_operand(ast.Mult, near="slope")),
        (module, "log_likelihood", scale_expression(call_target("where"), 0.8)),
        (module, "log_likelihood", set_argument("normal", 1, "0")),  # the same signs again: no spread
        (module, "log_likelihood", keep_left_operand(ast.Pow, near="shape")),
    ],
)
def test_planted_error_in_hutchinson_is_caught(owner, function, error):
    with planted_error(owner, function, error):
        assert_caught(check_hutchinson, log_likelihood)


@pytest.mark.slow
def test_probes_are_keyed_by_sample():
    problem = band_limited_field((10, 8))
    x = problem.draw(3)
    whole = log_likelihood(problem, EDM(), x, steps=4, seed=2)
    alone = log_likelihood(problem, EDM(), x[2:], steps=4, seed=2, first=2)
    assert torch.allclose(whole.log_p[2:], alone.log_p, atol=1e-9)
    other = log_likelihood(problem, EDM(), x[2:], steps=4, seed=3, first=2)
    assert not torch.allclose(other.log_p, alone.log_p, atol=1e-6)


# --- networks, conditions, padding, ends -----------------------------------------------------------------------------


class Tiny(nn.Module):
    """A convolution that receives the level; it predicts velocities of flow."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(0.3 * torch.randn(1, 1, 3, generator=generator))

    def forward(self, x, t):
        return torch.tanh(nn.functional.conv1d(x, self.weight, padding=1) + t[:, None, None])


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule", [*SCHEDULES, VE(), find_class("schedule", "discrete")(), find_class("schedule", "cosine")()]
)
def test_a_network_has_a_finite_likelihood_on_every_schedule(schedule):
    denoiser = UserModuleDenoiser(Tiny(), find_class("prediction", "v")(), find_class("clock", "tau")())
    x = torch.randn(3, 1, 8, generator=torch.Generator().manual_seed(1))
    both = [log_likelihood(denoiser, schedule, x, divergence=d, probes=12, steps=4) for d in ("exact", "hutchinson")]
    assert all(bool(torch.isfinite(f.log_p).all()) and f.log_p.dtype == torch.float64 for f in both)
    assert bool(((both[0].log_p - both[1].log_p).abs() < 4 * both[1].uncertainty).all())
    assert denoiser.network.weight.grad is None


@pytest.mark.slow
def test_a_class_has_its_own_likelihood():
    problem = example_mixture()
    x = problem.draw(4)
    told = problem.conditions(torch.tensor([0, 1, 2, 0]))
    found = log_likelihood(problem, RectifiedFlow(), x, told, divergence="exact")
    assert torch.allclose(found.log_p, exact(problem, x, found, told), atol=1e-4)
    assert not torch.allclose(found.log_p, exact(problem, x, found), atol=1e-2)


class Padded:
    """A sequence that fills a part of each sample; what it says of the padding is nonsense."""

    def __init__(self, problem):
        self.problem = problem

    def denoise(self, x, level, conditions):
        n = self.problem.shape[1]
        known = self.problem.denoise(x[..., :n], level).x0
        return Estimate(torch.cat([known, torch.sin(3 * x[..., n:])], dim=-1))


def check_padding(function):
    problem = ar1_sequences(6)
    x = torch.cat([problem.draw(3), torch.ones(3, 1, 2).double()], dim=-1)
    valid = torch.ones(3, 1, 8)
    valid[..., 6:] = 0
    for divergence in ("exact", "hutchinson"):
        padded = function(
            Padded(problem), EDM(), x, Conditioning(valid=valid), divergence=divergence, probes=16, steps=16
        )
        assert torch.equal(padded.dimensions, torch.full((3,), 6.0).double())
        off = (padded.log_p - exact(problem, x[..., :6], padded)).abs()
        assert bool((off < 4 * padded.uncertainty + 1e-3).all())


@pytest.mark.slow
def test_padding_is_left_out():
    check_padding(log_likelihood)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "function", "error"),
    [
        (module._Exact, "estimate", keep_left_operand(ast.Mult, near="cat")),
        (module, "_gaussian", keep_left_operand(ast.Mult, near="each")),
    ],
)
def test_padding_that_counts_is_caught(owner, function, error):
    with planted_error(owner, function, error):
        assert_caught(check_padding, log_likelihood)


@pytest.mark.slow
def test_less_noise_tends_to_the_density_of_the_data():
    problem, x = ar1_sequences(8), ar1_sequences(8).draw(2)
    truth = problem.log_density(x, NoiseLevel(0.0, 1.0, 0.0))
    off = [float((log_likelihood(problem, EDM(), x, rho_min=r).log_p - truth).abs().max()) for r in (0.3, 0.03, 0.003)]
    assert off[0] > 10 * off[1] > 100 * off[2] and off[2] < 1e-3


@pytest.mark.slow
def test_a_prior_of_ones_own():
    problem, x = example_mixture(), example_mixture().draw(3)
    found = log_likelihood(problem, EDM(sigma_max=2.0), x, divergence="exact", prior=problem.log_density)
    assert torch.allclose(found.log_p, exact(problem, x, found), atol=1e-4)
    rough = log_likelihood(problem, EDM(sigma_max=2.0), x, divergence="exact")
    assert not torch.allclose(rough.log_p, found.log_p, atol=1e-2), "a Gaussian is a poor marginal at low noise"


class Moving:
    def denoise(self, x, level, conditions):
        return Estimate(x, x)


@pytest.mark.parametrize(
    ("said", "denoiser", "options"),
    [
        ("2 probes", ar1_sequences(4), {"probes": 1}),
        ("1 step", ar1_sequences(4), {"steps": 0}),
        ("auto, exact or hutchinson", ar1_sequences(4), {"divergence": "exakt"}),
        ("rho_min lies", ar1_sequences(4), {"rho_min": 100.0}),
        ("changes the state", Moving(), {}),
    ],
)
def test_bad_calls_are_refused(said, denoiser, options):
    with pytest.raises(BadInput, match=said):
        log_likelihood(denoiser, EDM(), torch.zeros(1, 1, 4, dtype=torch.float64), **options)


# --- media -----------------------------------------------------------------------------------------------------------


def check_media(cls):
    """Media y = 3 z + 1 with z an AR(1) sequence: its density is known directly, and so is that of bytes."""
    z = ar1_sequences(8).draw(3)
    found = log_likelihood(ar1_sequences(8), RectifiedFlow(), z, divergence="exact")
    found = cls(found.log_p, found.uncertainty, found.step_error, found.dimensions, found.level, found.nfe)
    media = found.in_media_space(8 * math.log(1 / 3), 8)
    noise = float(found.level.rho)
    own = 9 * (ar1_sequences(8).covariance + noise**2 * torch.eye(8))
    truth = torch.distributions.MultivariateNormal(torch.ones(8).double(), own).log_prob((3 * z + 1).reshape(3, 8))
    assert torch.allclose(media.log_p, truth, atol=1e-4)
    assert torch.allclose(media.bits_per_dimension, -truth / (8 * math.log(2)), atol=1e-5)
    bytes_ = found.in_media_space(8 * math.log(1 / 3), 8, scale=127.5)
    assert torch.allclose(bytes_.bits_per_dimension, media.bits_per_dimension + math.log2(127.5), atol=1e-9)
    stereo = found.in_media_space(8 * math.log(1 / 3), 16)
    assert torch.allclose(stereo.bits_per_dimension, media.bits_per_dimension / 2)


@pytest.mark.slow
def test_media_space():
    check_media(LikelihoodResult)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("in_media_space", keep_left_operand(ast.Add)),
        ("in_media_space", swap_operator(ast.Add, ast.Sub)),
        ("in_media_space", swap_operator(ast.Sub, ast.Add)),
        ("bits_per_dimension", negate_expression(attribute_target("log_p"))),
        ("in_media_space", replace_expression(argument_target("replace", "dimensions"), "self.dimensions")),
    ],
)
def test_planted_error_in_media_space_is_caught(function, error):
    with planted_error(LikelihoodResult, function, error):
        assert_caught(check_media, LikelihoodResult)


def check_mask_is_moved(run, monkeypatch):
    """The mask of shorter items goes to the device of the data: `meta` cannot be mixed with tensors of the host."""
    data, _ = build_dataset(run.recipe, "valid")
    items = [data.item(i, None) for i in range(3)]
    assert any(item.length is not None and item.length < 2000 for item in items)
    devices = []

    def seen(denoiser, schedule, z, conditions, **_):
        devices.append((z.device.type, conditions.valid.device.type, conditions.valid.dtype == z.dtype))
        raise StopIteration

    with monkeypatch.context() as patch:
        patch.setattr(module, "log_likelihood", seen)
        patch.setattr(run.codec, "encode", lambda media: torch.empty(len(media), 16, 125, device="meta"))
        with pytest.raises(StopIteration):
            likelihood_of_items(run, items)
    assert devices == [("meta", "meta", True)]


@pytest.mark.slow
def test_the_mask_of_a_likelihood_is_where_the_data_are(tiny_run, monkeypatch):
    check_mask_is_moved(sonolux.load(tiny_run("audio", "data.padding=masked"), device="cpu"), monkeypatch)


def test_planted_mask_that_stays_on_the_host_is_caught(tiny_run, monkeypatch):
    run = sonolux.load(tiny_run("audio", "data.padding=masked"), device="cpu")
    monkeypatch.setattr(module, "move_like", lambda value, x: value)
    assert_caught(check_mask_is_moved, run, monkeypatch)


@pytest.fixture(scope="module")
def trained(tiny_run):
    """A run of a few steps of a small network, opened."""
    small = "network={width: 8, stages: [1], attention: [], patch: 4}"
    return sonolux.load(tiny_run("image", small), device="cpu")


@pytest.mark.slow
def test_items_of_a_trained_model(trained, monkeypatch):
    data, _ = build_dataset(trained.recipe, "valid")
    items = [data.item(i, None) for i in range(3)]
    latent, media = likelihood_of_items(trained, items, probes=2, steps=3)
    size = (16, 16)
    assert media is not None and latent.bits_per_dimension.shape == (3,)
    assert torch.allclose(media.log_p, latent.log_p + trained.codec.log_det(size))
    assert bool((latent.dimensions == 3 * 256).all()) and bool((media.dimensions == 3 * 256).all())
    monkeypatch.setattr(module, "BATCH", 2)  # the batch does not matter
    parts, _ = likelihood_of_items(trained, items, probes=2, steps=3)
    assert torch.allclose(parts.log_p, latent.log_p, rtol=1e-4)
    monkeypatch.setattr(type(trained.codec), "log_det", lambda self, size: None)
    assert likelihood_of_items(trained, items[:1], probes=2, steps=3)[1] is None
    with pytest.raises(BadInput, match="one to one"):
        latent.in_media_space(None, 1)
