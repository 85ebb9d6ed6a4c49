"""What a degradation leaves of media, in closed form; random ones draw from their generator alone."""

import ast

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.degradations.channel_mean import ChannelMean
from sonolux.core.degradations.crop import Crop
from sonolux.core.degradations.downsample import Downsample
from sonolux.core.degradations.low_pass import LowPass
from sonolux.core.degradations.mask import Mask
from sonolux.core.degradations.noise import Noise
from sonolux.core.testing.mutation import (
    assert_caught,
    condition_target,
    negate_expression,
    planted_error,
    swap_constant,
    swap_operator,
)
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.audio.degradations.band import Band

FIELD = MediaSpec("field", 3, ("height", "width"), (12, 16))
SERIES = MediaSpec("series", 2, ("time",), (400,), (400.0,))
FILM = MediaSpec("film", 1, ("time", "height", "width"), (6, 8, 8), (10.0, None, None))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rng(i=0):
    return keyed_generator(3, i, "test")


def check_blocks():
    """Each block holds its mean, also where the size is no multiple of the factor."""
    media = drawn(3, 12, 16)
    found = Downsample(FIELD, 4).degrade(media, rng()).media
    blocks = media.reshape(3, 3, 4, 4, 4).mean((2, 4))
    assert torch.allclose(found, blocks.repeat_interleave(4, 1).repeat_interleave(4, 2), atol=1e-6)
    odd = Downsample(FIELD, 5).degrade(media, rng()).media
    assert odd.shape == media.shape and len(odd[0].unique()) == 3 * 4
    assert Downsample(FILM, 2).degrade(drawn(1, 6, 8, 8), rng()).media.shape == (1, 6, 8, 8)


def test_downsample_is_the_mean_of_blocks():
    check_blocks()


def check_tones():
    """A tone below the cutoff stays, one above it goes; the ends do not leak into each other."""
    t = torch.arange(400) / 400
    low, high = (torch.sin(2 * torch.pi * f * t).expand(2, -1) for f in (20, 120))
    found = LowPass(SERIES, 60).degrade(low + high, rng()).media
    inside = slice(100, 300)
    assert float((found - low)[:, inside].abs().max()) < 0.02
    click = torch.zeros(2, 400)
    click[:, -1] = 1
    assert float(LowPass(SERIES, 60).degrade(click, rng()).media[:, :200].abs().max()) < 0.02


def test_low_pass_keeps_low_frequencies():
    check_tones()


def test_channel_mean_makes_the_channels_equal():
    media = drawn(3, 4, 4)
    found = ChannelMean(FIELD).degrade(media, rng()).media
    assert torch.allclose(found[0], media.mean(0)) and torch.equal(found[0], found[2])


def check_noise():
    """The level is drawn for each example between the two given ones."""
    media, levels = drawn(3, 64, 64), []
    for i in range(8):
        levels.append(float((Noise((0.1, 0.4)).degrade(media, rng(i)).media - media).std()))
    assert all(0.09 < level < 0.41 for level in levels) and max(levels) > 1.5 * min(levels)


def test_noise_has_its_level():
    check_noise()


def boxes(degradation, size, count=200):
    """The unknown interval along each axis, of many draws."""
    found = []
    for i in range(count):
        media = drawn(1, *size)
        made = degradation.degrade(media, rng(i))
        assert torch.equal(made.media, media) and made.known.shape == (1, *size)
        places = torch.nonzero(~made.known[0])
        assert len(places), "something is unknown"
        low, high = places.amin(0), places.amax(0) + 1
        assert len(places) == int((high - low).prod()), "what is unknown is a box"
        found.append([(int(a), int(b)) for a, b in zip(low, high, strict=True)])
    return found


def check_masks():
    """Boxes of the given share at any place; ends reach the end of time, or one side of another axis."""
    inner = boxes(Mask(FIELD, end=0, share=(0.25, 0.5)), (12, 16))
    for axis, size in enumerate((12, 16)):
        lengths = [box[axis][1] - box[axis][0] for box in inner]
        assert min(lengths) == size // 4 and max(lengths) == size // 2
        assert {box[axis][0] for box in inner} >= {0, size // 2} and max(box[axis][1] for box in inner) == size
    ends = boxes(Mask(SERIES, end=1), (400,))
    assert all(box[0][1] == 400 and 0.29 * 400 <= box[0][0] <= 0.81 * 400 for box in ends)
    sides = boxes(Mask(FIELD, end=1), (12, 16))
    whole = [[box[0] == (0, 12), box[1] == (0, 16)] for box in sides]
    assert all(sum(one) == 1 for one in whole) and all(any(one[axis] for one in whole) for axis in (0, 1))
    assert {box[0][0] == 0 for box in sides if box[0] != (0, 12)} == {True, False}, "both sides"
    films = boxes(Mask(FILM, end=1), (6, 8, 8), 20)
    assert all(box[0][1] == 6 and box[1:] == [(0, 8), (0, 8)] for box in films), "an end of time is the whole frame"


def test_masks_are_boxes_and_ends():
    check_masks()


def check_crop():
    """The example stays, and only the middle of it is known."""
    media = drawn(3, 12, 16)
    made = Crop(0.25, 0.75).degrade(media, rng())
    known = torch.zeros(1, 12, 16, dtype=torch.bool)
    known[:, 3:9, 4:12] = True
    assert torch.equal(made.media, media) and torch.equal(made.known, known)


def test_crop_keeps_the_middle():
    check_crop()


PLANTED = [
    (check_crop, Crop, "degrade", swap_operator(ast.Gt, ast.Lt)),
    (check_blocks, Downsample, "apply", swap_operator(ast.FloorDiv, ast.Mod)),
    (check_tones, LowPass, "_filtered", swap_operator(ast.Gt, ast.Lt)),
    (check_tones, LowPass, "_filtered", swap_constant(2, 1, at=None)),
    (check_masks, Mask, "degrade", swap_constant(False, True, at=-1)),
    (check_masks, Mask, "_unknown", negate_expression(condition_target())),
    (check_masks, Mask, "_unknown", swap_operator(ast.Sub, ast.Add)),
]


@pytest.mark.parametrize(("check", "cls", "method", "error"), PLANTED)
def test_planted_errors_are_caught(check, cls, method, error):
    with planted_error(cls, method, error):
        assert_caught(check, also=(RuntimeError, ValueError, TypeError))


def test_planted_constant_level_of_noise_is_caught(monkeypatch):
    right = Noise.__init__
    monkeypatch.setattr(Noise, "__init__", lambda self, level: right(self, (level[0], level[0])))
    assert_caught(check_noise)


@pytest.mark.parametrize("name", registry.component_names("degradation"))
def test_draws_come_from_the_generator_and_a_degraded_file_stays(name):
    cls = registry.find_class("degradation", name)
    spec = SERIES if name in ("low_pass", "audio/band") else FIELD
    options = {"low_pass": {"cutoff": 50.0}, "audio/band": {"high": 50.0, "n_fft": 64}}.get(name, {})
    made = cls(**options) if name in ("noise", "crop") else cls(spec, **options)
    media = drawn(spec.channels, *spec.size)
    first, again, other = (made.degrade(media.clone(), rng(i)) for i in (0, 0, 1))
    assert torch.equal(first.media, again.media)
    assert first.known is None or torch.equal(first.known, again.known)
    if name in ("noise", "mask"):  # random: a file is left as it is
        assert not torch.equal(first.media, other.media) or not torch.equal(first.known, other.known)
        assert torch.equal(made.of_file(media), media)
    else:
        kept = made.of_file(first.media)
        middle = slice(None) if spec is FIELD else slice(100, 300)
        assert name in ("audio/band", "crop") or float((kept - first.media)[..., middle].abs().max()) < 0.05


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ChannelMean(FILM), "mean of several channels"),
        (lambda: Downsample(FIELD, 13), "only 12"),
        (lambda: LowPass(FIELD, 0.5), "below 0.5, in cycles per element"),
        (lambda: LowPass(SERIES, 200.0), "below 200, half of the rate"),
        (lambda: Crop(0.7, 0.2), "begin < end"),
        (lambda: Crop(0.5, 0.51).check((4,)), "keeps nothing"),
        (lambda: Band(FIELD), "band takes sound, not field"),
        (lambda: Band(SERIES, 100.0, 500.0), "high <= 200 Hz"),
        (lambda: Band(SERIES, 0.01, 0.02), "no bin of band"),
        (lambda: Band(SERIES, n_fft=30), "multiple of 4"),
        (lambda: Noise((0.3, 0.1)), "smallest"),
        (lambda: Mask(FIELD, share=(0.0, 0.5)), "0 < smallest"),
    ],
)
def test_bad_options_are_refused(make, said):
    with pytest.raises(BadInput, match=said) as error:
        make()
    assert len(str(error.value)) <= 200
