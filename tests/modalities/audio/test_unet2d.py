"""The U-Net of spectrograms: planes and bands from the codec, loops and padding along time alone, absolute pitch."""

from dataclasses import replace

import pytest
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.nn.layers import conv
from sonolux.core.nn.layers.inputs import BlockInputs
from sonolux.core.nn.unet import UNetND
from sonolux.core.testing.conformance import check_network
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.build import build_model_components
from sonolux.core.types import BadInput, Conditioning, MediaSpec
from sonolux.modalities.audio.codecs.logmel import Logmel
from sonolux.modalities.audio.codecs.stft import Stft
from sonolux.modalities.audio.codecs.waveform import Waveform
from sonolux.modalities.audio.networks import unet2d
from sonolux.modalities.audio.networks._spectrogram import SpectrogramField
from sonolux.modalities.audio.networks.unet2d import UNet2d


def spec(channels=1, planes=1, bands=12, frames=16):
    axes = (("channel", channels), ("part", planes), ("band", bands))
    latent = (channels * planes * bands, frames)
    return MediaSpec("audio", channels, ("time",), (400,), (8000.0,), latent=latent, channel_axes=axes)


def net(given=None, **options):
    defaults = {"width": 8, "stages": [1, 2], "attention": [1], "head_dim": 8}
    return UNet2d(spec() if given is None else given, **{**defaults, **options})


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("codec", "planes", "bands"),
    [
        (lambda spec: Logmel(spec, 256, 64, 24), 2, 24),
        (lambda spec: Stft(spec, 126, 32), 4, 64),
        (lambda spec: Stft(spec, 256, 64), 4, 129),
    ],
)
def test_the_codec_says_how_channels_split(codec, planes, bands):
    sound = MediaSpec("audio", 2, ("time",), (1024,), (8000.0,))
    made = codec(sound)
    z = made.encode(drawn(2, 2, 1024))
    given = MediaSpec(
        "audio", 2, ("time",), (1024,), (8000.0,), latent=made.shape((1024,)), channel_axes=made.channel_axes
    )
    model = net(given)
    assert model.picture == (planes, bands) and model(z, torch.zeros(2)).shape == z.shape


def test_bands_are_neighbours_in_the_picture():
    """A convolution reaches a few bands of its own plane and of the others, and no other band."""
    model = net(spec(planes=2, bands=64), stages=[1], attention=[], patch=[1, 1], blocks=1)
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    for module in model.modules():  # group norm sees everything
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x, *rest: x
    x = drawn(1, 128, 16)
    changed = x.clone()
    changed[0, 64 + 20, 8] += 1  # band 20 of the second plane
    moved = (model(changed, torch.zeros(1)) - model(x, torch.zeros(1))).abs()[0].unflatten(0, (2, 64)).amax((0, 2))
    assert set(torch.nonzero(moved)[:, 0].tolist()) <= set(range(14, 27)) and moved[20] > 0


@pytest.mark.parametrize("axes", [(("channel", 1), ("sample", 12)), ()])
def test_a_codec_without_bands_is_refused(axes):
    with pytest.raises(BadInput, match=r"audio/logmel.*use audio/unet$"):
        net(replace(spec(), channel_axes=axes))


def test_waveforms_are_refused_before_training():
    recipe = load_recipe("audio/synth_sfx", ["codec={use: audio/waveform}", "network={use: audio/unet2d}"])
    with pytest.raises(BadInput, match=r"use audio/unet$"):
        build_model_components(recipe, recipe.modality.build().spec())
    assert Waveform(spec()).channel_axes[-1][0] == "sample"


def test_refuses_a_picture():
    with pytest.raises(BadInput, match=r"\(C, frames\)"):
        UNet2d(MediaSpec("image", 1, ("height", "width"), (8, 8), latent=(1, 8, 8)))


@pytest.mark.parametrize("patch", [[2], [2, 2, 2], [0, 2]])
def test_refuses_a_patch_that_does_not_fit(patch):
    with pytest.raises(BadInput, match="patch"):
        net(patch=patch)


def check_conformance(**options):
    check_network(net(spec(planes=2, bands=11), **options), (22, 16), wrap=(0,), step=8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"positions": 2}, {"patch": [4, 2]}, {"patch": [1, 4], "attention": []}], ids=str
)
def test_conforms(options):
    check_conformance(**options)


def check_references(concat=(23, 22, 1)):
    """References of 22 channels are planes of bands, which reach their own bands; masks apply to all bands."""
    given = spec(planes=2, bands=11)
    check_network(net(given, concat=concat), (22, 16), wrap=(0,), step=8, concat=concat)
    model = net(spec(bands=64), concat=(65,), stages=[1], attention=[], patch=[1, 1], blocks=1)
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    for module in model.modules():  # group norm sees everything
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x, *rest: x
    x, channels = drawn(1, 64, 16), drawn(1, 65, 16, seed=1)

    def moved(channel):
        changed = channels.clone()
        changed[0, channel, 8] += 1
        made = (model(x, torch.zeros(1), Conditioning(concat={"given": c})) for c in (changed, channels))
        return torch.sub(*made).abs()[0].amax(1)

    assert set(torch.nonzero(moved(20))[:, 0].tolist()) <= set(range(14, 27)) and moved(20)[20] > 0
    assert bool((moved(64) > 0).all()), "the mask reaches all bands"


@pytest.mark.slow
def test_references_are_pictures_too():
    check_references()


@pytest.mark.slow
def test_planted_bands_of_a_reference_out_of_place_are_caught(monkeypatch):
    true = SpectrogramField._as_field
    monkeypatch.setattr(SpectrogramField, "_as_field", lambda self, value: true(self, value).flip(2))
    assert_caught(check_references)


@pytest.mark.parametrize("frames", [1, 5, 16, 23])
def test_any_number_of_frames(frames):
    model, x = net(patch=[4, 2]), drawn(2, 12, frames)
    assert model(x, torch.zeros(2)).shape == x.shape


def _changed(change, forward=UNetND.forward):
    """UNetND.forward with other conditions."""
    return lambda self, x, level, conditions: forward(self, x, level, replace(conditions, **change(conditions)))


PLANTED = {
    "convolutions that do not wrap": lambda m: m.setattr(
        conv.Conv2d, "forward", lambda self, x, wrap=(), _true=conv.Conv2d.forward: _true(self, x)
    ),
    "padding not hidden": lambda m: m.setattr(BlockInputs, "mask_padding", lambda self, x: x),
    "wraps along frequency": lambda m: m.setattr(
        UNetND, "forward", _changed(lambda c: {"wrap": tuple(axis - 1 for axis in c.wrap)})
    ),
    "mask along frequency": lambda m: m.setattr(
        UNetND,
        "forward",
        _changed(lambda c: {} if c.valid is None else {"valid": (torch.arange(11) < 6).double()[None, None, :, None]}),
    ),
    "positions along a loop": lambda m: m.setattr(
        UNetND, "_positions", lambda self, x, wrap, _true=UNetND._positions: _true(self, x, ())
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_are_caught(error, monkeypatch):
    PLANTED[error](monkeypatch)
    assert_caught(check_conformance, positions=2)


def check_pitch():
    """The answer to a pattern depends on its absolute frequency, also along a loop."""
    model = net(spec(bands=32), attention=[], stages=[1]).double()
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(1, 32, 16, dtype=torch.float64)
    x[0, 8] = 1
    level, loop = torch.zeros(1, dtype=torch.float64), Conditioning(wrap=(0,))
    low, high = model(x, level, loop)[0, 6:11], model(x.roll(8, 1), level, loop)[0, 14:19]
    assert (low - high).abs().max() > 0.05 * low.abs().max()


def test_absolute_frequency_is_known():
    check_pitch()


def test_planted_network_without_positions_along_frequency_is_caught(monkeypatch):
    monkeypatch.setattr(unet2d, "FREQUENCY_OCTAVES", 0)
    assert_caught(check_pitch)


def test_lengths_beyond_training_are_refused_with_positions_along_time_only():
    net().check_size((99,))
    model = net(positions=2)
    model.check_size((16,))
    model.check_size((99,), (0,))
    with pytest.raises(BadInput, match=r"network\.positions=0"):
        model.check_size((17,))
    assert net().positions == 0 and model.positions == 2


@pytest.mark.slow
def test_learns_a_tone_for_each_level():
    """Target: the line of the input moved up by two bands at level 1, down at level -1, in spite of noise."""
    model = net(spec(bands=16, frames=8), width=16, stages=[1], attention=[])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    level, generator = torch.tensor([1.0, -1.0]).repeat(4), torch.Generator().manual_seed(0)
    for _ in range(120):
        band = torch.randint(3, 13, (8,), generator=generator)
        x = 0.3 * torch.randn(8, 16, 8, generator=generator)
        target = torch.zeros_like(x)
        for row in range(8):
            x[row, band[row]] += 2
            target[row, band[row] + (2 if row % 2 == 0 else -2)] = 2
        loss = (model(x, level) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.06


def check_added_bands():
    """Bands that are added inside, to a multiple of the patch, change nothing: with a mask of ones and without."""
    spec = MediaSpec(
        "audio", 1, ("time",), (640,), (8000.0,), latent=(9, 16), channel_axes=(("channel", 1), ("band", 9))
    )
    network = UNet2d(spec, 8, [1, 1], 1, [1], head_dim=8).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, 0, 0.2, generator=torch.Generator().manual_seed(0))
    x, level = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1)), torch.zeros(2)
    with torch.no_grad():
        masked = network(x, level, Conditioning(valid=torch.ones(2, 1, 16)))
        assert torch.allclose(network(x, level), masked, atol=1e-5)


def test_added_bands_change_nothing():
    check_added_bands()


def test_planted_bands_that_count_as_sound_are_caught(monkeypatch):
    forward = UNet2d.forward

    def unmasked(self, x, level, conditions=None):
        if conditions is None:
            return UNetND.forward(self, x.unflatten(1, self.picture), level, Conditioning()).flatten(1, 2)
        return forward(self, x, level, conditions)

    monkeypatch.setattr(UNet2d, "forward", unmasked)
    assert_caught(check_added_bands)
