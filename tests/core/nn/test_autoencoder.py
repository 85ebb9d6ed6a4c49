"""The convolutional autoencoder: shapes, locality, circular axes, zeros, ranges; each with a planted error."""

import ast

import pytest
import torch
from sonolux.core.nn import autoencoder
from sonolux.core.nn.autoencoder import AutoencoderND
from sonolux.core.nn.layers.init import normal_
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    keep_left_operand,
    planted_error,
    replace_expression,
)
from sonolux.core.types import BadInput
from sonolux.core.util.rng import keyed_generator


def network(dims=1, **kw):
    """An autoencoder with no weight at zero."""
    made = AutoencoderND(dims, **{"channels": 2, "latent": 3, "factor": 4, "width": 8} | kw)
    for name, p in made.named_parameters():
        if not p.data.any():
            normal_(p.data, keyed_generator(0, 0, "wake", name), 0.1)
    return made.double()


def noise(*shape):
    return torch.from_numpy(keyed_generator(1, 0, "media").standard_normal(shape))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("bottleneck", ["bounded", "kl"])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_shapes(dims, bottleneck, factor):
    made = network(dims, bottleneck=bottleneck, factor=factor)
    x = noise(2, 2, *(8, 4, 12)[:dims])
    z = made.encode(x)
    assert z.shape == (2, 3, *(n // factor for n in x.shape[2:]))
    assert made.decode(z).shape == x.shape
    assert made.training_pass(x, noise(*z.shape))[0].shape == x.shape


def check_circular():
    """A rolled input gives the rolled latent tensor, and back; without circular axes it does not."""
    made, x = network(2), noise(1, 2, 16, 8)
    z = made.encode(x, (0, 1))
    torch.testing.assert_close(made.encode(x.roll((8, 4), (2, 3)), (0, 1)), z.roll((2, 1), (2, 3)))
    torch.testing.assert_close(made.decode(z.roll((2, 1), (2, 3)), (0, 1)), made.decode(z, (0, 1)).roll((8, 4), (2, 3)))
    assert not torch.allclose(made.encode(x.roll(8, 2)), made.encode(x).roll(2, 2), atol=1e-3)


def check_local():
    """A change far away changes nothing: longer media, and media of which a part is edited, keep their elements."""
    made, x = network(blocks=1), noise(1, 2, 256)
    other = x.clone()
    other[..., 128:] = noise(1, 2, 128)
    z, changed = made.encode(x), made.encode(other)
    assert torch.equal(z[..., :24], changed[..., :24]) and not torch.equal(z[..., 31:], changed[..., 31:])
    torch.testing.assert_close(made.decode(z)[..., :64], made.decode(changed)[..., :64])


def check_zeros():
    made = network()
    assert made.encode(torch.zeros(1, 2, 32).double()).abs().max() == 0
    assert made.decode(torch.zeros(1, 3, 8).double()).abs().max() == 0


def check_bounded():
    x = 100 * noise(1, 2, 64)
    assert network().encode(x).abs().max() <= 1 < network(bottleneck="kl").encode(x).abs().max()


def check_divergence():
    """The divergence is that of torch.distributions, and 0 for bounded values."""
    made, x = network(bottleneck="kl"), noise(2, 2, 32)
    mean, log_variance = made._encoded(x, ()).chunk(2, dim=1)
    made_of = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(made_of, torch.distributions.Normal(0.0, 1.0)).mean()
    drawn = noise(2, 3, 8)
    reconstruction, divergence = made.training_pass(x, drawn)
    torch.testing.assert_close(divergence, expected)
    torch.testing.assert_close(reconstruction, made.decode(made_of.mean + made_of.stddev * drawn))
    assert network().training_pass(x, drawn)[1] == 0


CHECKS = [check_circular, check_local, check_zeros, check_bounded, check_divergence]


@pytest.mark.parametrize("check", CHECKS)
def test_autoencoder(check):
    check()


def _statistics_over_positions(x):
    return x * torch.rsqrt(x.square().mean(tuple(range(1, x.ndim)), keepdim=True) + 1e-2)


PLANTED = [
    (check_circular, AutoencoderND, "_encoded", replace_expression(argument_target("_run", 2), "()")),
    (check_divergence, AutoencoderND, "training_pass", replace_expression(argument_target("clamp", 1), "0.5")),
    (check_divergence, AutoencoderND, "training_pass", keep_left_operand(ast.Sub, at=-1)),
]


@pytest.mark.parametrize(("check", "cls", "method", "error"), PLANTED)
def test_planted_errors_are_caught(check, cls, method, error):
    with planted_error(cls, method, error):
        assert_caught(check)


def test_planted_statistics_over_positions_are_caught(monkeypatch):
    monkeypatch.setattr(autoencoder, "_normalised", _statistics_over_positions)
    assert_caught(check_local)


def test_a_planted_bias_is_caught(monkeypatch):
    inner = autoencoder.make_conv
    monkeypatch.setattr(autoencoder, "make_conv", lambda *a, **kw: inner(*a, **kw | {"bias": True}))
    assert_caught(check_zeros)


def test_values_without_bound_are_caught(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "tanh", lambda x: x)
    assert_caught(check_bounded)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"factor": 3}, "power of 2"), ({"factor": 0}, "power of 2"), ({"latent": 0}, "latent"), ({"width": 0}, "width")],
)
def test_options_out_of_range(options, words):
    with pytest.raises(BadInput, match=words):
        network(**options)
    with pytest.raises(BadInput, match="multiple"):
        network().encode(noise(1, 2, 30))
