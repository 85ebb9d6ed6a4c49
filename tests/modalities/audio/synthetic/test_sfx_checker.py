"""The checker of made sounds: right on fresh data, on what codecs give back, and on noisy sounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio.codecs.logmel import Logmel
from sonolux.modalities.audio.codecs.stft import Stft
from sonolux.modalities.audio.codecs.waveform import Waveform
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.noise_substitution import replace_tones_by_noise
from sonolux.modalities.audio.synthetic import checkers
from sonolux.modalities.audio.synthetic import effects as synthesis

SIGNAL = MediaSpec("audio", 1, ("time",), (8000,), (8000.0,))


def items(count, spec=SIGNAL, seed=1234):
    return [SynthSfx(spec, seed=seed).item(i, None) for i in range(count)]


def shares(sounds, wanted, rate=8000.0):
    """Share of right answers for every attribute."""
    read = checkers.predict_attributes(sounds, rate)
    return {
        name: float(np.mean([r[name] == w.attributes[name] for r, w in zip(read, wanted, strict=True)]))
        for name in synthesis.CHOICES
    }


def check_fresh(count=700):
    wanted = items(count)
    right = shares([w.media for w in wanted], wanted)
    print("fresh", right)
    assert min(right.values()) >= 0.95
    assert right["family"] >= 0.99


@pytest.mark.slow
def test_fresh_sounds():
    check_fresh()


@pytest.mark.slow
@pytest.mark.parametrize("error", ["sweep", "echo", "family"])
def test_planted_error_is_caught(error, monkeypatch):
    """A synthesis that goes astray from what it says is noticed by the checker."""
    checkers.fitted_predictor(8000.0, 8000)  # fitted before
    original = synthesis.render_sound

    def astray(effect, *rest):
        options = synthesis.CHOICES[error]
        other = options[(options.index(getattr(effect, error)) + 1) % len(options)]
        lies = effect.frequency % 1 < 0.15
        return original(replace(effect, **{error: other}) if lies else effect, *rest)

    monkeypatch.setattr(synthesis, "render_sound", astray)
    assert_caught(check_fresh, 350)  # one in seven is wrong: five standard deviations below what is asked


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "options"), [(Waveform, {}), (Stft, {}), (Logmel, {}), (Logmel, {"mels": 32})])
def test_what_codecs_give_back(cls, options):
    wanted = items(140)
    x = torch.stack([w.media for w in wanted])
    codec = cls(SIGNAL, **options)
    codec.fit(wanted)
    right = shares(list(codec.decode(codec.encode(x), 8000)), wanted)
    print(cls.__name__, options, right)
    assert min(right.values()) >= 0.93 and right["family"] >= 0.97


@pytest.mark.slow
def test_errors_of_a_model():
    """Normal errors of 0.2 deviations on every element of the diffused tensor leave the family legible."""
    wanted = items(140)
    x = torch.stack([w.media for w in wanted])
    for cls in (Stft, Logmel):
        codec = cls(SIGNAL)
        codec.fit(wanted)
        z = codec.encode(x)
        z = z + 0.2 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        right = shares(list(codec.decode(z, 8000)), wanted)
        print(cls.__name__, right)
        assert right["family"] >= 0.95 and min(right.values()) >= 0.9


def check_noise_in_the_place_of_tones():
    """At most a fifth of noise-substituted sounds of tonal families pass; explosions, which are noise, still do."""
    wanted = [item for item in items(140, seed=77)]
    noise = replace_tones_by_noise([w.media for w in wanted], 8000.0)
    read = checkers.predict_attributes(noise, 8000.0)
    right = {"tones": [], "noise": []}
    for row, item in zip(read, wanted, strict=True):
        family = item.attributes["family"]
        right["noise" if family == "explosion" else "tones"].append(row["family"] == family)
        assert row["family"] in (*synthesis.FAMILIES, checkers.NONE)
    print({name: float(np.mean(some)) for name, some in right.items()})
    assert np.mean(right["tones"]) <= 0.2 and np.mean(right["noise"]) >= 0.95


@pytest.mark.slow
def test_noise_in_the_place_of_tones_is_no_family():
    check_noise_in_the_place_of_tones()


@pytest.mark.slow
def test_planted_checker_of_bands_alone_is_caught(monkeypatch):
    monkeypatch.setattr(checkers.fitted_predictor(8000.0, 8000, "sfx"), "tones", None)
    assert_caught(check_noise_in_the_place_of_tones)


@pytest.mark.slow
def test_noise_gain_and_polarity_change_nothing_much():
    wanted = items(210)
    rng = torch.Generator().manual_seed(0)
    noisy = [w.media + 0.007 * torch.randn(w.media.shape, generator=rng) for w in wanted]  # about -40 dB
    assert min(shares(noisy, wanted).values()) >= 0.93
    quiet = [-0.03 * w.media for w in wanted]
    assert checkers.predict_attributes(quiet, 8000.0) == checkers.predict_attributes([w.media for w in wanted], 8000.0)
    late = [torch.nn.functional.pad(w.media, (160, 0))[:, :8000] for w in wanted]
    assert min(shares(late, wanted).values()) >= 0.93


@pytest.mark.slow
def test_other_rates():
    spec = MediaSpec("audio", 2, ("time",), (22050,), (22050.0,))
    wanted = items(210, spec)
    assert min(shares([w.media for w in wanted], wanted, 22050.0).values()) >= 0.93


@pytest.mark.slow
def test_the_same_answer_every_time():
    wanted = items(70)
    sounds = [w.media for w in wanted]
    first = checkers.predict_attributes(sounds, 8000.0)
    assert checkers.SfxPredictor(8000.0, 8000).predict(sounds) == first
    assert [checkers.predict_family(s, 8000.0) for s in sounds[:5]] == [r["family"] for r in first[:5]]
    assert checkers.predict_families([], 8000.0) == []
    with pytest.raises(BadInput, match=r"0\.25 s"):
        checkers.predict_family(torch.zeros(1, 100), 8000.0)
