"""Noise in the place of tones keeps bands, envelope and level, and has no tones."""

import ast

import torch
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_operator
from sonolux.modalities.audio import dsp, noise_substitution
from sonolux.modalities.audio.noise_substitution import replace_tones_by_noise
from sonolux.modalities.audio.tonality import measure_tonality

RATE = 8000


def chord(count=16000):
    """Three tones for a second, then silence."""
    t = torch.arange(count) / RATE
    wave = sum(torch.sin(2 * torch.pi * hertz * t) / k for k, hertz in enumerate((300.0, 900.0, 2100.0), 1))
    return (0.3 * wave * (t < 1))[None]


def levels(wave):
    """Mean power in 24 bands, in dB."""
    filters = dsp.mel_filters(256, RATE, 24)
    return 10 * (filters @ dsp.stft(wave, 256, 64).abs().square()).mean((0, 2)).clamp(min=1e-9).log10()


def check_copy(**options):
    sound = torch.cat([chord(), 0.1 * chord()])
    (copy,) = replace_tones_by_noise([sound], RATE, **options)
    assert copy.shape == sound.shape
    assert torch.allclose(dsp.rms(copy), dsp.rms(sound), rtol=1e-4), "the level of each channel"
    loud = levels(sound[:1]) > levels(sound[:1]).max() - 15
    assert float((levels(copy[:1]) - levels(sound[:1]))[loud].abs().mean()) < 2, "the bands"
    assert float(dsp.rms(copy[:, 8200:]).max()) < 0.01 * float(dsp.rms(copy).max()), "the envelope"
    tones = [measure_tonality(one[:1, :8000], RATE) for one in (sound, copy)]
    assert tones[0].harmonic_to_noise > 20 and tones[1].harmonic_to_noise < 8
    assert torch.equal(copy, replace_tones_by_noise([sound], RATE, **options)[0]), "keyed by the seed"
    assert not torch.equal(copy, replace_tones_by_noise([sound], RATE, seed=1)[0])


def test_a_copy_has_the_bands_and_no_tones():
    check_copy()
    lengths = [replace_tones_by_noise([torch.ones(1, n)], RATE)[0].shape[-1] for n in (1, 63, 500)]
    assert lengths == [1, 63, 500]
    assert float(replace_tones_by_noise([torch.zeros(1, 500)], RATE)[0].abs().max()) == 0


def test_planted_level_is_caught():
    with planted_error(noise_substitution, "replace_tones_by_noise", swap_operator(ast.Div, ast.Mult, at=-1)):
        assert_caught(check_copy)


def test_planted_white_noise_is_caught(monkeypatch):
    def flat(bands, filters, steps):
        return torch.ones(*bands.shape[:-2], filters.shape[1], bands.shape[-1])

    monkeypatch.setattr(dsp, "mel_to_spectrum", flat)
    assert_caught(check_copy)


def test_bands_that_are_too_narrow_keep_tones():
    assert_caught(check_copy, bands=120, window=0.256)
