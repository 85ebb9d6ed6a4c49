"""Made drum hits and textures: deterministic, as told, stationary where they go on; their checkers read them back."""

import hashlib
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio.datasets import synth_textures
from sonolux.modalities.audio.datasets.base import SyntheticSounds
from sonolux.modalities.audio.datasets.synth_drums import SynthDrums
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.datasets.synth_textures import SynthTextures
from sonolux.modalities.audio.synthetic import checkers, drums, shaping, textures

SIGNAL = MediaSpec("audio", 1, ("time",), (4800,), (8000.0,))
LONG = MediaSpec("audio", 1, ("time",), (12000,), (8000.0,))
BOTH = pytest.mark.parametrize("cls", [SynthDrums, SynthTextures])


def made(cls, **more):
    return cls(SIGNAL if cls is SynthDrums else LONG, **more)


def digest(data, count=12):
    return hashlib.sha256(b"".join(data.item(i, None).media.numpy().tobytes() for i in range(count))).hexdigest()


@BOTH
def test_sounds_follow_from_the_seed(cls):
    assert digest(made(cls, seed=3)) == digest(made(cls, seed=3)) != digest(made(cls, seed=4))
    data = made(cls)
    again = [data.item(i, None).media for i in (7, 2, 7)]
    assert torch.equal(again[0], again[2])


def check_splits(cls):
    waves = [
        {made(cls, split=s, valid=0.5, count=60).item(i).media.numpy().tobytes() for i in range(30)}
        for s in ("train", "valid")
    ]
    assert len(waves[0]) == len(waves[1]) == 30 and not waves[0] & waves[1]


@pytest.mark.slow
@BOTH
def test_splits_share_nothing(cls):
    check_splits(cls)


@pytest.mark.slow
@BOTH
def test_planted_shared_key_is_caught(cls, monkeypatch):
    original = SyntheticSounds._key

    def same(self, index, what):
        self.split = "train"
        return original(self, index, what)

    monkeypatch.setattr(SyntheticSounds, "_key", same)
    assert_caught(check_splits, cls)


@BOTH
def test_items(cls):
    data = made(cls, count=200)
    assert len(data) == 180 and len(made(cls, split="valid", count=200)) == 20
    items = [data.item(i, None) for i in range(30)]
    assert len(set(Counter(item.label for item in items).values())) == 1
    for item in items:
        assert item.media.shape == (1, data.frames) and item.media.dtype == torch.float32
        assert bool(torch.isfinite(item.media).all()) and 0.05 < float(item.media.abs().max()) < 0.96
        assert data.classes[item.label] == item.attributes["family"] and item.length is None
        assert json.loads(json.dumps(item.attributes)) == item.attributes
        assert item.caption.endswith(item.attributes["family"])
    assert json.dumps(data.manifest())
    with pytest.raises(IndexError):
        data.item(180)


def test_choices_are_even():
    for module in (drums, textures):
        rng = np.random.default_rng(0)
        drawn = [module.draw_description(rng) for _ in range(1500)]
        for name, options in module.CHOICES.items():
            counts = Counter(getattr(d, name) for d in drawn)
            assert all(abs(counts[option] / 1500 - 1 / len(options)) < 0.05 for option in options)


# --- lengths as attributes ---


def check_seconds():
    """`seconds` is what the item lasts, so that a condition on it and the mask agree; `body` is the maker's own."""
    for cls in (SynthDrums, SynthSfx):
        data = cls(MediaSpec("audio", 1, ("time",), (8000,), (8000.0,)), padding="masked")
        for i in range(20):
            item = data.item(i)
            assert item.attributes["seconds"] == item.length / 8000
            tail = item.media[:, item.length :].abs().max() if item.length < 8000 else torch.zeros(())
            assert float(tail) < 1.01e-3 * float(item.media.abs().max())
    echo = next(i for i in (data.item(k) for k in range(50)) if i.attributes["echo"] == "with")
    assert echo.attributes["seconds"] > echo.attributes["body"] + 0.3


def test_the_length_attribute_is_the_items_own():
    check_seconds()


def test_planted_length_of_the_body_is_caught(monkeypatch):
    original = SyntheticSounds.make_item

    def wrong(self, index, what, wave, masked, rng):
        item = original(self, index, what, wave, masked, rng)
        item.attributes["seconds"] = item.attributes["body"]
        return item

    monkeypatch.setattr(SyntheticSounds, "make_item", wrong)
    assert_caught(check_seconds)


# --- drums ---


def hit(**changes):
    values = dict(family="tom", pitch="low", length="long", tone="dark", frequency=110.0, seconds=0.4)
    return drums.DrumHit(**{**values, **changes})


def check_hits():
    """The pitch of a tom's tail, at any rate; the time in which hits die away, by their envelope."""
    for rate in (8000.0, 44100.0):
        wave = torch.from_numpy(drums.render_sound(hit(), rate, 0.6, np.random.default_rng(0)))
        part = wave[round(0.15 * rate) : round(0.3 * rate)]
        spectrum = torch.fft.rfft(part * torch.hann_window(len(part)), n=int(4 * rate)).abs()
        assert float(spectrum.argmax()) / 4 == pytest.approx(110.0, rel=0.02)
    for family in drums.FAMILIES:
        for seconds in (0.12, 0.4):
            low = drums._FREQUENCY[family]["low"]
            what = hit(family=family, frequency=low, seconds=seconds)
            wave = torch.from_numpy(drums.render_sound(what, 8000.0, 0.6, np.random.default_rng(1)))[None]
            start, end = dsp.audible_bounds(wave, -60.0)
            assert start <= 0.006 * 8000
            assert 0.55 * seconds < (end - start) / 8000 <= seconds + 0.001, family
            late = wave[:, start + round(0.88 * seconds * 8000) : start + round(0.95 * seconds * 8000)]
            assert float(late.abs().max()) < 0.02 * float(wave.abs().max()), family


def test_hits_are_as_described():
    check_hits()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("sine_sweep", lambda f: lambda frequency, rate, phase=0.0: f(1.05 * frequency, rate, phase)),
        ("_decay", lambda f: lambda what, t, share=1.0: f(replace(what, seconds=2 * what.seconds), t, share) ** 0.25),
    ],
)
def test_planted_error_in_hits_is_caught(name, wrong, monkeypatch):
    monkeypatch.setattr(drums, name, wrong(getattr(drums, name)))
    assert_caught(check_hits)


def check_band():
    """Noise of a band has unit power, and its power lies where the gain says: by a periodogram."""
    rate, gain = 8000.0, shaping.band_gain(500.0, 1500.0, 4)
    wave = shaping.shaped_noise(80000, rate, gain, np.random.default_rng(0)).astype(np.float64)
    assert np.mean(wave**2) == pytest.approx(1, rel=0.05)
    power = np.mean(np.abs(np.fft.rfft(wave.reshape(-1, 800) * np.hanning(800), axis=1)) ** 2, axis=0)
    hertz = np.fft.rfftfreq(800, 1 / rate)
    wanted = gain(hertz) ** 2
    inside = wanted > 0.02
    ratio = power[inside] / wanted[inside]
    assert np.abs(ratio / ratio.mean() - 1).max() < 0.5 and power[hertz > 2500].mean() < 0.02 * power.max()


def test_noise_of_a_band():
    check_band()


def test_planted_error_in_noise_is_caught(monkeypatch):
    original = shaping.apply_filter
    monkeypatch.setattr(shaping, "apply_filter", lambda w, rate, gain: original(w, 2 * rate, gain))
    assert_caught(check_band)


# --- textures ---


def check_stationary():
    """No part of a texture is special: level and brightness of its first, middle and last tenths agree on average."""
    for family in textures.FAMILIES:
        tenths = []
        for i in range(24):
            rng = np.random.default_rng(i)
            wave = textures.render_sound(textures.draw_description(rng, family), 8000.0, 3.0, rng).astype(np.float64)
            parts = wave.reshape(10, -1)
            power = np.mean(parts**2, axis=1)
            edge = np.mean(np.diff(parts, axis=1) ** 2, axis=1) / power
            tenths.append(np.log([power / power.mean(), edge / edge.mean()]))
        mean, error = np.mean(tenths, 0), np.std(tenths, 0) / np.sqrt(24)
        assert np.abs(mean - mean.mean(1, keepdims=True)).max() < np.maximum(4 * error, 0.1).max(), family


@pytest.mark.slow
def test_textures_are_stationary():
    check_stationary()


def test_planted_fade_is_caught(monkeypatch):
    original = textures.render_sound
    fade = lambda wave: wave * np.linspace(1, 0.5, len(wave), dtype=np.float32)  # noqa: E731
    monkeypatch.setattr(textures, "render_sound", lambda *a: fade(original(*a)))
    assert_caught(check_stationary)


def check_events():
    """An engine fires as often as told: the strongest line of its envelope."""
    for events in (25.0, 64.0):
        what = textures.SoundTexture("engine", "slow", "bright", events, 0.5)
        wave = torch.from_numpy(textures.render_sound(what, 8000.0, 4.0, np.random.default_rng(0)))
        power = torch.fft.rfft(dsp.rms_envelope(wave[None], 8000.0, 0.001) ** 2)[1:].abs()
        fourth = power[round(3.2 * events) : round(4.8 * events)]  # lines lie 1 / 4 Hz apart
        assert (round(3.2 * events) + 1 + int(fourth.argmax())) / 4 == pytest.approx(events, rel=0.04)


def test_an_engine_fires_as_often_as_described():
    check_events()


def test_planted_tempo_is_caught(monkeypatch):
    original = textures._engine
    monkeypatch.setitem(textures._RENDERERS, "engine", lambda t, *a: original(replace(t, events=1.1 * t.events), *a))
    assert_caught(check_events)


def test_crops_lie_anywhere_in_the_recording():
    data = SynthTextures(LONG, recording=4.0)
    whole = torch.from_numpy(textures.render_sound(data.texture(5), 8000.0, 4.0, data._key(5, "noise")))
    starts = set()
    for i in range(12):
        crop = data.item(5, np.random.default_rng(i)).media[0]
        near = (whole[: 32000 - 12000 + 1].abs() - crop[0].abs()).abs() < 1e-9
        at = [k for k in near.nonzero()[:, 0].tolist() if torch.equal(whole[k : k + 12000].abs(), crop.abs())]
        assert len(at) == 1
        starts.add(at[0] // 5000)
    assert starts >= {0, 1, 2, 3}
    with pytest.raises(BadInput, match=r"data\.recording"):
        SynthTextures(LONG, recording=1.0)


# --- checkers ---


def shares(kind, sounds, wanted, rate):
    read = checkers.predict_attributes(sounds, rate, kind)
    return {
        name: float(np.mean([r[name] == w.attributes[name] for r, w in zip(read, wanted, strict=True)]))
        for name in checkers.KINDS[kind].synthesizer.CHOICES
    }


def check_read(kind, cls):
    data = made(cls, seed=1234)
    wanted = [data.item(i, np.random.default_rng(i)) for i in range(240)]
    right = shares(kind, [w.media for w in wanted], wanted, 8000.0)
    print(kind, right)
    assert right["family"] >= 0.99 and min(right.values()) >= 0.95


KINDS = pytest.mark.parametrize(("kind", "cls"), [("drums", SynthDrums), ("textures", SynthTextures)])


@pytest.mark.slow
@KINDS
def test_checkers_read_fresh_sounds(kind, cls):
    check_read(kind, cls)


@pytest.mark.slow
@KINDS
def test_planted_sound_of_another_family_is_caught(kind, cls, monkeypatch):
    checkers.fitted_predictor(8000.0, 4800 if kind == "drums" else 12000, kind)  # fitted before
    where = drums if kind == "drums" else synth_textures
    original, names = where.render_sound, cls.classes

    def astray(what, *rest):
        other = names[(names.index(what.family) + 1) % len(names)]
        lies = (what.frequency if kind == "drums" else what.events) % 1 < 0.15
        return original(replace(what, family=other) if lies else what, *rest)

    monkeypatch.setattr(where, "render_sound", astray)
    assert_caught(check_read, kind, cls)


def test_what_the_datasets_cannot_make_is_refused():
    with pytest.raises(BadInput, match=r"8000 Hz or more and at least 0\.25 s"):
        SynthDrums(MediaSpec("audio", 1, ("time",), (4000,), (4000.0,)))
    with pytest.raises(BadInput, match=r"at least 0\.5 s"):
        SynthTextures(MediaSpec("audio", 1, ("time",), (3000,), (8000.0,)))
    with pytest.raises(BadInput, match=r"modality: \{use: audio}"):
        SynthDrums(MediaSpec("image", 1, ("height", "width"), (8, 8)))
