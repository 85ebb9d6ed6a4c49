"""The transformers of audio: over frames, and over frequency bands and frames."""

import pytest
import torch
from sonolux.core.nn import spatial
from sonolux.core.testing.conformance import check_network
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Conditioning, MediaSpec
from sonolux.modalities.audio.networks import dit2d
from sonolux.modalities.audio.networks.dit import DiT
from sonolux.modalities.audio.networks.dit2d import DiT2d


def spec(planes=2, bands=11, frames=16):
    axes, latent = (("channel", planes), ("band", bands)), (planes * bands, frames)
    return MediaSpec("audio", planes, ("time",), (400,), (8000.0,), latent=latent, channel_axes=axes)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awake(network):
    """The network with random weights in its layers that start at zero."""
    for i, p in enumerate(network.parameters()):
        if p.ndim > 1 and not p.data.any():
            torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(i))
    return network


def test_refuses_a_picture():
    picture = MediaSpec("image", 1, ("height", "width"), (8, 8), latent=(1, 8, 8))
    for network, name in ((DiT, "audio/dit"), (DiT2d, "audio/dit2d")):
        with pytest.raises(BadInput, match=rf"{name} takes tensors of shape \(C, frames\)"):
            network(picture)


def test_a_codec_without_bands_is_refused():
    axes = (("channel", 2), ("sample", 11))
    wave = MediaSpec("audio", 2, ("time",), (400,), (8000.0,), latent=(22, 16), channel_axes=axes)
    with pytest.raises(BadInput, match=r"audio/dit2d needs a codec with frequency bands.*use audio/dit$"):
        DiT2d(wave)
    with pytest.raises(BadInput, match="patch"):
        DiT2d(spec(), "nano", patch=[2])


def check_conformance(network, step):
    check_network(network, (22, 16), wrap=(0,), step=step)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: DiT(spec(), "nano", patch=2, cross_attention=True),
        lambda: DiT2d(spec(), "nano", patch=[4, 2], cross_attention=True),
        lambda: DiT2d(spec(), "nano", patch=[8, 2], positions=2, skips=True),
    ],
    ids=["dit", "dit2d", "dit2d with positions and skips"],
)
def test_conforms(make):
    check_conformance(make(), 2)


@pytest.mark.slow
def test_planted_loop_along_frequency_is_caught(monkeypatch):
    forward = spatial.SpatialNetwork.forward

    def wrong(self, x, level, conditions):
        along = tuple(axis - 1 for axis in conditions.wrap)
        return forward(self, x, level, Conditioning(conditions.vector, valid=conditions.valid, wrap=along))

    monkeypatch.setattr(spatial.SpatialNetwork, "forward", wrong)
    assert_caught(check_conformance, DiT2d(spec(), "nano", patch=[4, 2]), 2)


@pytest.mark.parametrize("frames", [1, 5, 16, 23])
def test_any_number_of_frames(frames):
    model, x = awake(DiT2d(spec(), "nano", patch=[4, 2])), drawn(2, 22, frames)
    out = model(x, torch.zeros(2))
    assert out.shape == x.shape and out.isfinite().all() and out.abs().max() > 0


def check_pitch():
    """The answer to a pattern depends on its absolute frequency, also along a loop."""
    model = awake(DiT2d(spec(1, 32), "nano", patch=[4, 2])).double()
    x = torch.zeros(1, 32, 16, dtype=torch.float64)
    low, high = x.clone(), x.clone()
    low[0, 8], high[0, 16] = 1, 1
    level, loop = torch.zeros(1, dtype=torch.float64), Conditioning(wrap=(0,))
    a, b = model(low, level, loop), model(high, level, loop)
    relative = (a[0, 4:14] - b[0, 12:22]).abs().max() / a.abs().max()
    assert relative > 0.1


def test_absolute_frequency_is_known():
    check_pitch()


def test_planted_network_without_positions_along_frequency_is_caught(monkeypatch):
    monkeypatch.setattr(dit2d, "FREQUENCY_OCTAVES", 0)
    assert_caught(check_pitch)


def test_lengths_beyond_training_are_refused_with_positions_along_time_only():
    DiT2d(spec(), "nano").check_size((99,))
    model = DiT2d(spec(), "nano", positions=2)
    assert model.positions == 2 and DiT2d(spec(), "nano").positions == 0
    model.check_size((99,), (0,))
    with pytest.raises(BadInput, match=r"network\.positions=0"):
        model.check_size((17,))
