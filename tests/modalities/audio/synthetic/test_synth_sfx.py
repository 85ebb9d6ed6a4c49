"""Made sound effects: deterministic, varied, of the stated pitch, length and echo; the splits share none."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.synthetic import effects as synthesis
from sonolux.modalities.audio.synthetic.effects import CHOICES, FAMILIES, SoundEffect, render_sound

SIGNAL = MediaSpec("audio", 1, ("time",), (8000,), (8000.0,))


def effect(**changes):
    values = dict(family="jump", pitch="low", length="long", sweep="steady", noise="clean", echo="without")
    return SoundEffect(**{**values, "frequency": 300.0, "seconds": 0.4, **changes})


def made(what, rate=8000.0, seconds=1.0, seed=0):
    return torch.from_numpy(render_sound(what, rate, seconds, np.random.default_rng(seed)))


def digest(data, count=20):
    return hashlib.sha256(b"".join(data.item(i, None).media.numpy().tobytes() for i in range(count))).hexdigest()


def test_sounds_follow_from_the_seed():
    one, two = SynthSfx(SIGNAL, seed=3), SynthSfx(SIGNAL, seed=3)
    assert digest(one) == digest(two) != digest(SynthSfx(SIGNAL, seed=4))
    assert torch.equal(one.item(11, None).media, [one.item(i, None) for i in (5, 11)][1].media)  # order does not matter


def check_splits_share_nothing():
    def sounds(split):
        data = SynthSfx(SIGNAL, split=split, valid=0.5, count=400)
        items = [data.item(i, None) for i in range(len(data))]
        return {i.media.numpy().tobytes() for i in items}, {i.attributes["frequency"] for i in items}

    (waves, pitches), (others, other_pitches) = sounds("train"), sounds("valid")
    assert len(waves) == len(others) == 200
    assert not waves & others and not pitches & other_pitches


@pytest.mark.slow
def test_splits_share_nothing():
    check_splits_share_nothing()


@pytest.mark.slow
def test_planted_shared_key_is_caught(monkeypatch):
    original = SynthSfx._key

    def same(self, index, what):
        self.split = "train"
        return original(self, index, what)

    monkeypatch.setattr(SynthSfx, "_key", same)
    assert_caught(check_splits_share_nothing)


@pytest.mark.slow
def test_items():
    data = SynthSfx(SIGNAL, count=1000)
    assert len(data) == 900 and len(SynthSfx(SIGNAL, split="valid", count=1000)) == 100
    assert data.classes == FAMILIES
    items = [data.item(i, None) for i in range(210)]
    assert Counter(item.label for item in items) == {k: 30 for k in range(7)}
    for item in items:
        assert item.media.shape == (1, 8000) and item.media.dtype == torch.float32
        assert bool(torch.isfinite(item.media).all()) and 0.55 < float(item.media.abs().max()) < 0.85
        assert FAMILIES[item.label] == item.attributes["family"] and item.length is None
        assert json.loads(json.dumps(item.attributes)) == item.attributes
    flipped = [data.item(0, np.random.default_rng(i)).media for i in range(8)]
    assert {bool(torch.equal(f, items[0].media)) for f in flipped} == {True, False}
    assert all(torch.equal(f.abs(), items[0].media.abs()) for f in flipped)
    assert 0 < SynthSfx(SIGNAL, padding="masked").item(0, None).length < 8000
    with pytest.raises(IndexError):
        data.item(900, None)
    assert json.dumps(data.manifest())


@pytest.mark.slow
def test_choices_are_even_and_independent():
    data = SynthSfx(SIGNAL)
    effects = [data.choices(i) for i in range(3000)]
    for name, options in CHOICES.items():
        counts = Counter(getattr(e, name) for e in effects)
        for option in options:
            assert abs(counts[option] / 3000 - 1 / len(options)) < 0.04
    table = np.array([[CHOICES[n].index(getattr(e, n)) for n in CHOICES] for e in effects], float)
    assert np.abs(np.corrcoef(table.T) - np.eye(6)).max() < 0.08


def test_captions():
    assert effect(sweep="rising", echo="with", family="laser", length="short").captions[0] == (
        "a short low rising laser with echo"
    )
    assert effect(noise="noisy", pitch="high").captions[0] == "a long high steady noisy jump"


def check_pitch_and_sweep():
    """The strongest partial of a clean jump: at the stated frequency, rising or falling by 1.2 octaves."""
    for sweep, octaves in (("steady", 0.0), ("rising", 1.2), ("falling", -1.2)):
        for rate in (8000.0, 44100.0):
            wave = made(effect(sweep=sweep, frequency=500.0), rate)
            found = []
            for u in (0.2, 0.8):
                n, at = 2 * round(0.015 * rate), round(u * 0.4 * rate)
                spectrum = torch.fft.rfft(wave[at - n // 2 : at + n // 2] * torch.hann_window(n), n=int(rate))
                found.append(float(spectrum.abs().argmax()))
            mean = 1 / 2.4  # of u^1.4
            expected = [500 * 2 ** (octaves * (u**1.4 - mean)) for u in (0.2, 0.8)]
            assert found == pytest.approx(expected, rel=0.06)


def check_length_and_echo():
    for seconds in (0.12, 0.4):
        for family in FAMILIES:
            wave = made(effect(family=family, seconds=seconds))[None]
            assert dsp.audible_bounds(wave, -40)[1] / 8000 == pytest.approx(
                seconds, abs=0.04 if family != "hit" else 0.15
            )
    dry, wet = made(effect(seconds=0.12))[None], made(effect(seconds=0.12, echo="with"))[None]
    first, second, third = (
        float(wet[:, round(8000 * at) : round(8000 * (at + 0.13))].abs().max()) for at in (0.0, 0.21, 0.42)
    )
    assert (second / first, third / first) == pytest.approx((0.5, 0.25), rel=0.03)
    assert float(dry[:, 1700:].abs().max()) == 0.0


def check_hiss():
    """Noise is 5 dB under the tone in power, whatever the rate up to 12 kHz; a clean tone has none."""
    for family in ("jump", "blip"):
        spectra = {}
        for noise in ("clean", "noisy"):
            wave = made(effect(family=family, noise=noise, frequency=250.0))
            power = torch.fft.rfft(wave[400:2800]).abs().square()
            spectra[noise] = float(power[2800 * 3 // 10 :].sum() / power.sum())  # above 2.8 kHz
        assert spectra["noisy"] > 0.04 > 4 * spectra["clean"]


def check_nothing_folds_back():
    """A steady square at 3.1 kHz and 8 kHz rate has no partial but the first: the third would appear at 1.3 kHz."""
    wave = synthesis._tone(np.full(4000, 3100.0, np.float32), synthesis._SQUARE, 8000.0)
    power = np.abs(np.fft.rfft(wave * np.hanning(4000))) ** 2
    assert power[1500:1600].sum() / power.sum() > 0.9999


CHECKS = [check_pitch_and_sweep, check_length_and_echo, check_hiss, check_nothing_folds_back]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_sound(check):
    check()


def _octave_up(m):
    tone = synthesis._tone
    m.setattr(synthesis, "_tone", lambda f, p, r: tone(2 * f, p, r))


def _wrong_way(m):
    glide = synthesis._glide
    m.setattr(synthesis, "_glide", lambda *a, **k: 1 / glide(*a, **k))


PLANTED = {
    "an octave too high": (check_pitch_and_sweep, _octave_up),
    "sweeps the wrong way": (check_pitch_and_sweep, _wrong_way),
    "echoes too loud": (check_length_and_echo, lambda m: m.setattr(synthesis, "_FADES", (0.7, 0.25))),
    "no hiss": (check_hiss, lambda m: m.setattr(synthesis, "_hiss", lambda body, rate, rng: 0 * body)),
    "partials fold back": (check_nothing_folds_back, lambda m: m.setattr(synthesis, "_tone", _naive)),
}


def _naive(frequency, partials, rate):
    phase = np.cumsum(2 * np.pi * frequency / rate)
    return sum(w * np.sin(k * phase) for k, w in partials.items())


@pytest.mark.parametrize("name", PLANTED)
def test_planted_error_is_caught(name, monkeypatch):
    check, plant = PLANTED[name]
    plant(monkeypatch)
    assert_caught(check)


@pytest.mark.parametrize(("rate", "seconds", "channels"), [(4000, 0.25, 1), (44100, 1.0, 2), (16000, 3.0, 1)])
def test_other_rates_lengths_and_channels(rate, seconds, channels):
    spec = MediaSpec("audio", channels, ("time",), (round(rate * seconds),), (float(rate),))
    for i in range(14):
        media = SynthSfx(spec).item(i, None).media
        assert media.shape == (channels, *spec.size) and bool(torch.isfinite(media).all())
        assert torch.equal(media[0], media[-1]) and float(media.abs().max()) > 0.5


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (MediaSpec("audio", 1, ("time",), (2000,), (2000.0,)), {}, "4000 Hz"),
        (MediaSpec("audio", 1, ("time",), (100,), (8000.0,)), {}, "0.25 s"),
        (MediaSpec("image", 3, ("height", "width"), (8, 8)), {}, "needs `modality"),
        (SIGNAL, {"count": 1}, "data.count"),
        (SIGNAL, {"valid": 1.5}, "data.split.valid"),
        (SIGNAL, {"split": "test"}, "train or valid"),
    ],
)
def test_bad_values(spec, values, message):
    with pytest.raises(BadInput, match=message):
        SynthSfx(spec, **values)
