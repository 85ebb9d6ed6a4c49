"""The pixel codec: unit variance after fitting, exact round trip, log-determinant against autograd."""

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Item, MediaSpec
from sonolux.modalities.image.codecs.pixels import Pixels
from sonolux.modalities.image.datasets.shapes import Shapes

SIGNAL = MediaSpec("image", 3, ("height", "width"), (32, 32))


def items(count=200):
    data = Shapes(SIGNAL)
    return [data.item(i) for i in range(count)]


def check_unit_variance(codec):
    found = items()
    codec.fit(iter(found))
    z = codec.encode(torch.stack([item.media for item in found]).double())
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(z.var((0, 2, 3), unbiased=False), torch.ones(3, dtype=torch.float64), atol=1e-5)


def check_round_trip(codec):
    codec.fit(iter(items(50)))
    media = torch.rand(4, 3, 20, 24, dtype=torch.float64) * 2 - 1
    assert (codec.decode(codec.encode(media)) - media).abs().max() < 1e-12
    assert codec.encode(media).shape[1:] == codec.shape((20, 24))
    single = media.float()
    assert (codec.decode(codec.encode(single)) - single).abs().max() < 1e-6


def check_log_det(codec):
    codec.fit(iter(items(50)))
    media = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(codec.encode, media).reshape(60, 60)
    assert abs(float(torch.linalg.slogdet(jacobian).logabsdet) - codec.log_det((4, 5))) < 1e-4


CHECKS = [check_unit_variance, check_round_trip, check_log_det]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_pixels(check):
    check(Pixels(SIGNAL))


def _scale_is_variance(codec, monkeypatch):
    inner = codec.standard.fit

    def fit(batches):
        inner(batches)
        codec.standard.scale.square_()

    monkeypatch.setattr(codec.standard, "fit", fit)


def _mean_is_added(codec, monkeypatch):
    monkeypatch.setattr(codec.standard, "inverse", lambda y: y * codec.standard.scale.reshape(1, -1, 1, 1))


def _sign(codec, monkeypatch):
    monkeypatch.setattr(codec, "log_det", lambda size: -type(codec).log_det(codec, size))


PLANTS = [_scale_is_variance, _mean_is_added, _sign]


@pytest.mark.slow
@pytest.mark.parametrize(("check", "plant"), list(zip(CHECKS, PLANTS, strict=True)))
def test_planted_errors_are_caught(check, plant, monkeypatch):
    codec = Pixels(SIGNAL)
    plant(codec, monkeypatch)
    assert_caught(check, codec)


def test_a_constant_channel_keeps_scale_one():
    media = torch.rand(3, 8, 8)
    media[1] = 0.25
    codec = Pixels(SIGNAL)
    codec.fit([Item(media)])
    assert codec.standard.scale[1] == 1 and codec.standard.mean[1] == 0.25


def test_what_was_fitted_travels_with_the_weights():
    codec, other = Pixels(SIGNAL), Pixels(SIGNAL)
    codec.fit(iter(items(20)))
    other.load_state_dict(codec.state_dict())
    media = torch.rand(1, 3, 8, 8)
    assert torch.equal(codec.encode(media), other.encode(media))


def test_decode_lets_gradients_pass():
    z = torch.full((1, 3, 2, 2), 50.0, requires_grad=True)
    Pixels(SIGNAL).decode(z).sum().backward()
    assert (z.grad == 1).all()


@pytest.mark.parametrize(
    ("media", "words"),
    [
        (torch.zeros(1, 8, 8), "cat.png: .*the recipe has 3 channels"),
        (torch.full((3, 8, 8), torch.nan), "cat.png: .*not finite"),
    ],
)
def test_fitting_on_bad_pictures(media, words):
    with pytest.raises(BadInput, match=words):
        Pixels(SIGNAL).fit([Item(media, source="cat.png")])
    with pytest.raises(BadInput, match="nothing to fit"):
        Pixels(SIGNAL).fit([])
