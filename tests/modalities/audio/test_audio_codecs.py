"""Codecs of sound: round trips, unit variance, masks, gradients, loops."""

import ast
import math

import pytest
import torch
from sonolux.core.codecs.base import LearnedCodec
from sonolux.core.config import registry
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    keep_left_operand,
    planted_error,
    replace_expression,
    set_argument,
    swap_operator,
)
from sonolux.core.types import BadInput, Item, MediaSpec
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio.codecs import _log_magnitude, base
from sonolux.modalities.audio.codecs._pretrained import PretrainedSoundCodec
from sonolux.modalities.audio.codecs.log_spectrum import LogSpectrum
from sonolux.modalities.audio.codecs.logmel import Logmel
from sonolux.modalities.audio.codecs.stft import Stft
from sonolux.modalities.audio.codecs.waveform import Waveform
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx

MONO = MediaSpec("audio", 1, ("time",), (8000,), (8000.0,))
STEREO = MediaSpec("audio", 2, ("time",), (4000,), (8000.0,))
NAMES = [  # codecs that need no network in a folder
    name
    for name in registry.component_names("codec")
    if name.startswith("audio/") and not issubclass(registry.find_class("codec", name), PretrainedSoundCodec)
]


def made(spec, count=64, **kw):
    return [SynthSfx(spec, **kw).item(i) for i in range(count)]


def unfitted(cls, spec=MONO, **kw):
    """A codec with its defaults; an autoencoder is over a waveform, of which silence is 0, and is hardly trained."""
    if issubclass(cls, LearnedCodec):
        kw = {"base": Waveform(spec), "steps": 2, "width": 8} | kw
    return cls(spec, **kw)


def fitted(cls, spec=MONO, items=None, **kw):
    codec = unfitted(cls, spec, **kw)
    codec.fit(made(spec) if items is None else items)
    return codec


def stack(items):
    return torch.stack([item.media for item in items])


def check_exact_round_trip(cls, floor_db):
    for spec in (MONO, STEREO, MediaSpec("audio", 1, ("time",), (777,), (8000.0,))):
        items = [Item(torch.randn(spec.channels, *spec.size) * 0.1) for _ in range(8)]
        codec = fitted(cls, spec, items)
        x = stack(items)
        z = codec.encode(x)
        assert tuple(z.shape[1:]) == codec.shape(spec.size)
        error = codec.decode(z, spec.size[0]) - x
        assert codec.decode(z, spec.size[0]).shape == x.shape
        assert 10 * math.log10(float(x.square().mean() / error.square().mean())) > floor_db


def check_levels_are_limited():
    """No band of a decoded sound exceeds its maximum in the training split, padding aside; the sounds do not change."""
    for cls in (Logmel, LogSpectrum):
        items = made(MONO, 24, padding="masked")
        codec, free = (fitted(cls, items=items, limit=limit).double() for limit in ("data", "reference"))
        x = stack(items).double()
        z = codec.encode(x)
        mask = codec.valid(torch.tensor([item.length or 8000 for item in items]), (8000,))
        assert mask is not None
        torch.testing.assert_close(
            codec._magnitude(z) * mask[:, None], free._magnitude(z) * mask[:, None], atol=1e-5, rtol=1e-5
        )
        highest = codec.to_bands(codec._magnitude(z * mask)).amax((0, 1, 3))
        loud = codec.to_bands(codec._magnitude(z + 2)).amax((0, 1, 3))
        assert float((loud / highest).max()) < 1.3, "mel bands overlap: the inversion is not exact"
        assert float((free.to_bands(free._magnitude(z + 2)).amax((0, 1, 3)) / highest).median()) > 2


def check_maxima_of_the_valid_frames():
    """`fit` stores the largest logarithm of each band over valid frames; reading logarithms changes nothing."""
    items = made(MONO, 12, padding="masked")
    codec = fitted(Logmel, items=items, limit="data")
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    found = list(codec._valid_logs([(10 * x, n) for x, n in base.padded_media_batches(items)]))
    assert found and all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())
    logs = [codec._logs(item.media[None]).masked_fill(_mask(codec, item) == 0, -math.inf) for item in items]
    torch.testing.assert_close(codec.highest, torch.cat(logs).amax((0, 2)), rtol=1e-5, atol=1e-5)


def _mask(codec, item):
    return codec.valid(torch.tensor([item.length or 8000]), (8000,))


def check_bins_are_kept():
    """What is decoded, without the phase, are the magnitudes of every bin, down to the floor."""
    items = made(MONO, 24)
    codec = fitted(LogSpectrum, items=items).double()
    x = stack(items).double()
    real = dsp.stft(codec.padded(x), 254, 64).abs()
    torch.testing.assert_close(codec._magnitude(codec.encode(x)), real, atol=1e-9, rtol=1e-6)  # maxima are float32
    sound = codec.decode(codec.encode(x), 8000)
    again = dsp.stft(codec.padded(sound), 254, 64).abs()
    error = 20 * math.log10(float((again - real).norm() / real.norm()))
    assert error < -24, error  # measured -26.0 dB when written


def check_unit_variance(cls, masked=True):
    """Over what was fitted: every channel, and nothing but valid elements."""
    items = made(MONO, 96, padding="masked" if masked else "silence")
    codec = fitted(cls, items=items)
    z = codec.encode(stack(items)).double()
    lengths = torch.tensor([8000 if item.length is None else item.length for item in items])
    mask = codec.valid(lengths, (8000,))
    mask = torch.ones_like(z[:, :1]) if mask is None else mask.double()
    power = (z.square() * mask).sum((0, 2)) / mask.sum()
    mean = (z * mask).sum((0, 2)) / mask.sum()
    if issubclass(cls, _log_magnitude.LogMagnitudeCodec):
        assert float(mean.abs().max()) < 1e-4
        torch.testing.assert_close(power, torch.ones_like(power), atol=1e-3, rtol=0)
    elif cls is Stft:
        pairs = power.reshape(2, -1)  # (real and imaginary, bins): one scale a bin
        torch.testing.assert_close(pairs[:, 1:-1].mean(0), torch.ones(126).double(), atol=1e-3, rtol=0)
        torch.testing.assert_close(pairs[0, [0, -1]], torch.ones(2).double(), atol=1e-3, rtol=0)
        assert float(pairs[1, [0, -1]].max()) < 1e-20
    else:
        assert abs(float(power.mean()) - 1) < 0.02  # the last patch of a sound is part padding


def check_shared_scale():
    codec = fitted(Stft)
    real, imaginary = codec.normal.scale.reshape(2, -1)
    assert torch.equal(real, imaginary)
    assert float(codec.normal.mean.abs().max()) == 0


def check_mel_round_trip():
    """Draft quality: the magnitude comes back within these bounds (measured 0.11 and 3.3 dB when written)."""
    items = made(MONO, 24)
    codec = fitted(Logmel, items=items)
    x = stack(items)
    y = codec.decode(codec.encode(x), 8000)
    assert torch.isfinite(y).all()

    def magnitude(wave):
        return dsp.stft(torch.nn.functional.pad(wave, (0, 192)), 256, 64).abs()

    a, b = magnitude(x), magnitude(y)
    assert float((a - b).norm() / a.norm()) < 0.16
    bands_a, bands_b = codec.filters @ a, codec.filters @ b
    level = dsp.db_to_amplitude(-40) * float(bands_a.max())
    loud = bands_a > level
    distance = float(
        (dsp.amplitude_to_db(bands_a[loud]) - dsp.amplitude_to_db(bands_b[loud].clamp(min=level / 10)))
        .square()
        .mean()
        .sqrt()
    )
    assert distance < 4.5


@pytest.mark.parametrize(("cls", "floor"), [(Waveform, 120), (Stft, 100)])
def test_round_trip(cls, floor):
    check_exact_round_trip(cls, floor)


@pytest.mark.slow
def test_levels_are_limited():
    check_levels_are_limited()


@pytest.mark.slow
def test_maxima_of_the_valid_frames():
    check_maxima_of_the_valid_frames()


def test_bins_are_kept():
    check_bins_are_kept()


@pytest.mark.slow
def test_mel_round_trip():
    check_mel_round_trip()


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Waveform, Stft, Logmel, LogSpectrum])
@pytest.mark.parametrize("masked", [True, False])
def test_unit_variance(cls, masked):
    check_unit_variance(cls, masked)


@pytest.mark.slow
def test_shared_scale():
    check_shared_scale()


def _all_valid(items):
    return ((media, torch.full_like(lengths, media.shape[-1])) for media, lengths in base.padded_media_batches(items))


PLANTED = {
    "power not undone": (
        lambda: check_exact_round_trip(Stft, 100),
        lambda m: m.setattr(Stft, "decode", lambda self, z, length=None, f=Stft.decode: f(self, z * 1.001, length)),
    ),
    "parts in another order": (
        lambda: check_exact_round_trip(Stft, 100),
        lambda m: m.setattr(Stft, "_parts", lambda self, x, loop=False, f=Stft._parts: f(self, x, loop).flip(1)),
    ),
    "patches one sample off": (
        lambda: check_exact_round_trip(Waveform, 120),
        lambda m: m.setattr(
            Waveform, "padded", lambda self, x, loop=False, f=Waveform.padded: f(self, x, loop).roll(1, -1)
        ),
    ),
    "fit on padding too": (
        lambda: check_unit_variance(Logmel),
        lambda m: m.setattr(_log_magnitude, "padded_media_batches", _all_valid),
    ),
    "scales not shared": (
        check_shared_scale,
        lambda m: m.setattr(
            Stft, "fit", lambda self, items: self.normal.fit([(self._parts(stack(list(items))), None)])
        ),
    ),
    "floor taken for sound": (
        check_mel_round_trip,
        lambda m: (
            m.setattr(Logmel, "_level", lambda self, like, f=Logmel._level: f(self, like) * 3, raising=True)
            or m.setattr(torch, "relu", lambda x: x.abs() + 0.3)
        ),
    ),
    "no limit": (
        check_levels_are_limited,
        lambda m: m.setattr(_log_magnitude.LogMagnitudeCodec, "_top", lambda self, z: torch.tensor(9.0)),
    ),
    "limits of the mean": (
        check_levels_are_limited,
        lambda m: m.setattr(
            _log_magnitude.LogMagnitudeCodec, "_top", lambda self, z: self.normal.mean.to(z.dtype)[:, None]
        ),
    ),
    "maxima not kept": (
        check_maxima_of_the_valid_frames,
        lambda m: m.setattr(_log_magnitude._BandMaxima, "__iter__", lambda self: iter(self.batches)),
    ),
    "bins of the neighbours": (
        check_bins_are_kept,
        lambda m: m.setattr(LogSpectrum, "to_magnitude", lambda self, bands: bands.roll(1, -2)),
    ),
    "phases of random numbers": (
        check_bins_are_kept,
        lambda m: m.setattr(_log_magnitude, "phase_from_magnitude", lambda *a: None),
    ),
    "half of the bands lost": (
        check_mel_round_trip,
        lambda m: m.setattr(
            dsp, "mel_to_spectrum", lambda mel, filters, f=dsp.mel_to_spectrum: f(mel, filters).roll(4, -2)
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_planted_error_is_caught(name, monkeypatch):
    check, plant = PLANTED[name]
    plant(monkeypatch)
    assert_caught(check)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_codec_of_sound(name):
    """Shapes, masks, checkpoints, gradients, batches: what the core relies on, for each codec that is found."""
    cls = registry.find_class("codec", name)
    items = made(STEREO, 16, padding="masked")
    codec = fitted(cls, STEREO, items)
    x = stack(items)[:4]
    z = codec.encode(x)
    assert tuple(z.shape[1:]) == tuple(codec.shape((4000,)))
    assert codec.decode(z, 4000).shape == x.shape
    mask = codec.valid(torch.tensor([1, 1000, 4000, 4000]), (4000,))
    assert mask is not None and mask.shape == (4, 1, z.shape[-1])
    assert 1 <= mask[0].sum() < mask[1].sum() < mask[2].sum()
    again = unfitted(cls, STEREO)
    again.load_state_dict(codec.state_dict())
    assert torch.equal(again.encode(x), z)
    assert torch.equal(again.decode(z, 4000), codec.decode(z, 4000))
    torch.testing.assert_close(codec.decode(z[1:2], 4000), codec.decode(z, 4000)[1:2], atol=2e-4, rtol=0)
    quiet = torch.zeros_like(z).requires_grad_()
    for start in (z.clone().requires_grad_(), quiet):
        (gradient,) = torch.autograd.grad(codec.decode(start, 4000).square().sum(), start)
        assert bool(torch.isfinite(gradient).all())
    media = torch.zeros_like(x).requires_grad_()
    (gradient,) = torch.autograd.grad(codec.encode(media).square().sum(), media)
    assert bool(torch.isfinite(gradient).all())
    assert bool(torch.isfinite(codec.decode(50 * torch.randn_like(z))).all())


@pytest.mark.parametrize("name", NAMES)
def test_fit_asks_for_something_to_fit(name):
    with pytest.raises(BadInput, match="nothing to fit"):
        unfitted(registry.find_class("codec", name)).fit([])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_silence_decodes_to_silence(name):
    codec = fitted(registry.find_class("codec", name))
    silence = codec.decode(codec.encode(torch.zeros(1, 1, 8000)), 8000)
    assert float(silence.abs().max()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_loops(name):
    """A loop is rolled by whole places without a change, whatever is asked to be cut is refused."""
    codec = fitted(registry.find_class("codec", name))
    x = stack(made(MONO, 2))[..., :4096]
    x[..., -600:] += 0.1 * torch.randn(600)
    z = codec.encode(x, loop=True)
    torch.testing.assert_close(codec.encode(x.roll(64, -1), loop=True), z.roll(64 // codec.hop, -1), atol=2e-4, rtol=0)
    assert codec.wrap == (0,)
    if not isinstance(codec, _log_magnitude.LogMagnitudeCodec):
        if not isinstance(codec, LearnedCodec):
            torch.testing.assert_close(codec.decode(z, loop=True), x, atol=1e-5, rtol=0)
        with pytest.raises(BadInput, match="cannot be cut"):
            codec.decode(z, 4000, loop=True)
    with pytest.raises(BadInput, match="multiple"):
        codec.encode(x[..., :4001], loop=True)


def check_log_det():
    spec = MediaSpec("audio", 1, ("time",), (32,), (8000.0,))
    codec = fitted(Waveform, spec, [Item(0.1 * torch.randn(1, 32)) for _ in range(50)], patch=8)
    eye = torch.eye(32)[:, None]
    jacobian = codec.encode(eye).flatten(1)
    assert float(torch.linalg.slogdet(jacobian).logabsdet) == pytest.approx(codec.log_det((32,)), rel=1e-4)


@pytest.mark.slow
def test_log_det():
    check_log_det()
    assert fitted(Waveform).log_det((8001,)) is None
    assert fitted(Stft).log_det((8000,)) is None


def test_planted_sign_of_log_det_is_caught(monkeypatch):
    original = Waveform.log_det
    monkeypatch.setattr(Waveform, "log_det", lambda self, size: -original(self, size))
    assert_caught(check_log_det)


def test_frames_are_multiples_of_eight():
    assert Stft(MONO).shape((8000,)) == (256, 128)
    assert Stft(MONO).shape((8192,)) == (256, 128)
    assert Logmel(MONO, mels=48).shape((8193,)) == (48, 136)
    assert Waveform(MONO).shape((8000,)) == (16, 500)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stft(MONO, n_fft=256, hop=200), "n_fft / 2"),
        (lambda: Stft(MONO, power=0), "codec.power"),
        (lambda: Stft(MediaSpec("image", 3, ("height", "width"), (8, 8))), "take sound"),
        (lambda: Logmel(MONO, floor=3), "codec.floor"),
        (lambda: Logmel(MONO, n_fft=64, hop=16), "fewer mels"),
        (lambda: Logmel(MONO, mels=2), "codec.mels"),
        (lambda: Waveform(MONO, patch=0), "codec.patch"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()


# --- overlapping patches ---


def check_overlap():
    """Exact, as a loop too; a shift by a place is a shift; what two places say of a sample is cross-faded."""
    for channels, overlap in ((1, 5), (2, 8), (1, 16)):
        spec = MediaSpec("audio", channels, ("time",), (801,), (8000.0,))
        codec = Waveform(spec, patch=16, overlap=overlap).double()
        codec.normal.scale.fill_(0.3)
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(3, channels, 801, dtype=torch.float64, generator=rng)
        z = codec.encode(x)
        assert tuple(z.shape[1:]) == codec.shape((801,)) == (channels * (16 + overlap), 51)
        torch.testing.assert_close(codec.decode(z, 801), x, atol=1e-12, rtol=0)
        loop = x[..., :800]
        z = codec.encode(loop, loop=True)
        torch.testing.assert_close(codec.decode(z, 800, loop=True), loop, atol=1e-12, rtol=0)
        torch.testing.assert_close(codec.encode(loop.roll(16, -1), loop=True), z.roll(1, -1), atol=0, rtol=0)
        for length in (1, 15, 16, 17, 100, 110):  # the places that hold something of it, by looking
            some = torch.zeros(1, channels, 801, dtype=torch.float64)
            some[..., :length] = 1
            held = codec.encode(some).abs().sum(1, keepdim=True) > 0
            assert torch.equal(codec.valid(torch.tensor([length]), (801,)) > 0, held)
        z = torch.randn(z.shape, dtype=torch.float64, generator=rng)  # as a model makes it: neighbours do not agree
        turned = codec.decode(z.roll(1, -1), 800, loop=True)
        torch.testing.assert_close(turned, codec.decode(z, 800, loop=True).roll(16, -1), atol=1e-12, rtol=0)
        assert codec.log_det((800,)) is None
        # A place that is off by one: it counts fully in its middle, fades out over `overlap`, and with its
        # neighbours' shares comes to one.
        z = torch.zeros(1, 16 + overlap, 9, dtype=torch.float64)
        z[..., 4] = 1 / 0.3
        one = Waveform(MediaSpec("audio", 1, ("time",), (144,), (8000.0,)), 16, overlap).double()
        one.normal.scale.fill_(0.3)
        bump = one.decode(z, 144)[0, 0]
        assert float(bump.max()) == pytest.approx(1) or overlap == 16
        assert float(bump.diff().abs().max()) < 2.0 / overlap
        torch.testing.assert_close(
            sum(bump.roll(16 * k) for k in range(9)), torch.ones(144).double(), atol=1e-9, rtol=0
        )
        center = float((bump * torch.arange(144)).sum() / bump.sum())
        assert center == pytest.approx(4 * 16 + 7.5, abs=0.51), "a place stays where it is without overlap"


@pytest.mark.slow
def test_overlapping_patches():
    check_overlap()
    assert torch.equal(
        fitted(Waveform).encode(stack(made(MONO, 2))), fitted(Waveform, overlap=0).encode(stack(made(MONO, 2)))
    )
    for wrong in (-1, 17):
        with pytest.raises(BadInput, match=r"codec\.overlap"):
            Waveform(MONO, patch=16, overlap=wrong)


PLANTED_OVERLAP = [
    ("_joined", replace_expression(ast.Slice, "slice(left + 1, left + 1 + size)", at=-1)),
    ("_joined", swap_operator(ast.USub, ast.UAdd)),
    ("_joined", keep_left_operand(ast.Add, near="around")),
    ("__init__", set_argument("__init__", "reach", "0")),
    (
        "__init__",
        replace_expression(
            argument_target("sin", 0), "torch.pi / 2 * (torch.arange(overlap) * 0 + overlap) / max(1, overlap)"
        ),
    ),
    ("_margins", replace_expression(ast.Tuple, "(0, self.overlap)")),
]


@pytest.mark.parametrize(("method", "error"), PLANTED_OVERLAP)
def test_planted_error_in_overlap_is_caught(method, error):
    with planted_error(Waveform, method, error):
        assert_caught(check_overlap, also=RuntimeError)


def check_channel_axes(name):
    """Unfolding the channels by the named axes separates the audio channels, and puts frequencies in order."""
    codec = registry.find_class("codec", name)(STEREO)
    time = torch.arange(4000) / 8000
    tones = torch.stack([torch.sin(2 * math.pi * hertz * time) for hertz in (500.0, 1000.0)])
    media = torch.stack([torch.zeros(4000), torch.zeros(4000)])
    axes = [axis for axis, _ in codec.channel_axes]
    sizes = [size for _, size in codec.channel_axes]
    assert math.prod(sizes) == codec.shape((4000,))[0] and axes[0] == "channel" and sizes[0] == 2
    tops = []
    for tone in tones:
        media[1] = tone
        z = codec.encode(torch.stack([media, torch.zeros_like(media)]))
        power = (z[0] - z[1]).unflatten(0, sizes).square()
        assert power[0].max() == 0 and power[1].max() > 0, "the silent channel is its own plane"
        tops.append(int(power[1].reshape(-1, sizes[-1], power.shape[-1]).sum((0, 2)).argmax()))
    assert "band" not in axes or tops[0] < tops[1], "a higher tone is in a higher band"


@pytest.mark.parametrize("name", [name for name in NAMES if registry.find_class("codec", name)(STEREO).channel_axes])
def test_channel_axes_describe_the_channels(name):
    check_channel_axes(name)


def test_planted_axes_in_another_order_are_caught(monkeypatch):
    monkeypatch.setattr(_log_magnitude, "rearrange", lambda x, pattern, **sizes: x.transpose(1, 2).flatten(1, 2))
    assert_caught(check_channel_axes, "audio/logmel")
