"""Tones and sweeps are measured: known ratios, known slopes, and noise in the place of tones."""

import ast
import math

import pytest
import torch
from sonolux.core.testing.mutation import (
    assert_caught,
    keep_left_operand,
    planted_error,
    swap_attribute,
    swap_constant,
    swap_operator,
)
from sonolux.core.types import MediaSpec
from sonolux.modalities.audio import dsp, tonality
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.tonality import measure_tonality

RATE = 8000


def noise(count=2 * RATE, seed=0):
    return torch.randn(1, count, generator=torch.Generator().manual_seed(seed))


def tone(octaves=0.0, start=300.0, count=2 * RATE):
    """A tone of unit power whose pitch rises by `octaves` per second."""
    seconds = torch.arange(count, dtype=torch.float64) / RATE
    phase = 2 * math.pi * torch.cumsum(start * 2 ** (octaves * seconds) / RATE, 0)
    return (math.sqrt(2) * phase.sin()).float()[None]


def check_ratio():
    """A tone in white noise gives the ratio of their powers, at any level."""
    for pitch in (200, 437, 1333):
        for ratio in (6, 12, 20):
            wave = tone(start=pitch) + noise() * 10 ** (-ratio / 20)
            assert abs(measure_tonality(0.01 * wave, RATE).harmonic_to_noise - ratio) < 1.5


def test_harmonic_to_noise_ratio_of_a_tone_in_noise():
    check_ratio()
    assert measure_tonality(noise(), RATE).harmonic_to_noise < -3


def check_flatness():
    """A periodogram of white noise is exponentially distributed: exp(-0.577); a tone is 35 dB less flat."""
    assert abs(measure_tonality(noise(), RATE).flatness + 2.51) < 0.2
    assert measure_tonality(tone(), RATE).flatness < -35
    mixed = measure_tonality(tone() + 0.1 * noise(), RATE).flatness
    assert -25 < mixed < -10


def test_flatness_of_noise_and_of_a_tone():
    check_flatness()


def check_sweep():
    for octaves in (-1.5, 0.0, 1.5):
        assert abs(measure_tonality(tone(octaves, 1000.0 if octaves < 0 else 200.0), RATE).sweep - octaves) < 0.05
    assert abs(measure_tonality(noise(), RATE).sweep) < 0.05


def test_sweep_rate_of_a_glide():
    check_sweep()


def check_loud_part():
    """What is 60 dB below the loudest window does not count."""
    padded = torch.cat([1e-3 * noise(6000), tone(1.5, 200.0, RATE // 2), torch.zeros(1, 3000)], 1)
    found = measure_tonality(padded, RATE)
    assert found.harmonic_to_noise > 20 and abs(found.sweep - 1.5) < 0.1


def test_a_loud_part_counts_and_silence_gives_no_figures():
    check_loud_part()
    assert all(math.isnan(v) for v in measure_tonality(torch.zeros(2, 800), RATE))
    assert all(math.isfinite(v) for v in measure_tonality(tone(count=20), RATE)), "shorter than a window"


def noise_like(wave, seed):
    """Noise with the sound's envelope in 20 mel bands: what a model makes that has lost the tones."""
    wave = torch.nn.functional.pad(wave, (0, -wave.shape[-1] % 128))
    filters = dsp.mel_filters(512, RATE, 20)
    bands = filters @ dsp.stft(wave, 512, 128).abs().square()
    gain = dsp.mel_to_spectrum(bands, filters).sqrt()
    return dsp.istft(dsp.stft(noise(wave.shape[-1], seed), 512, 128) * gain, 512, 128)


def check_noise_for_tones():
    """Noise in the place of the tones lowers the ratio of nearly every tonal sound and raises its flatness."""
    data = SynthSfx(MediaSpec("audio", 1, ("time",), (RATE,), (float(RATE),)))
    items = [data.item(i) for i in range(70)]
    tonal = [item.media for item in items if item.attributes["noise"] == "clean" and item.label != 2]
    pairs = [(measure_tonality(x, RATE), measure_tonality(noise_like(x, i), RATE)) for i, x in enumerate(tonal)]
    assert sum(b.harmonic_to_noise < a.harmonic_to_noise for a, b in pairs) >= 0.95 * len(pairs)
    assert sum(b.flatness > a.flatness for a, b in pairs) >= 0.95 * len(pairs)


@pytest.mark.slow
def test_noise_in_the_place_of_tones_is_seen():
    check_noise_for_tones()


@pytest.mark.parametrize(
    ("function", "mutation", "check"),
    [
        ("_peaks", keep_left_operand(ast.Div), check_ratio),  # not divided by the window's
        ("_ratio_in_db", swap_operator(ast.Sub, ast.Add, at=-1), check_ratio),
        ("spectral_flatness", swap_operator(ast.Sub, ast.Add), check_flatness),
        ("spectral_flatness", swap_constant(10, 20), check_flatness),
        ("sweep_rate", swap_attribute("log2", "log10"), check_sweep),
        ("sweep_rate", swap_operator(ast.Sub, ast.Add), check_sweep),
        ("loud_windows", swap_operator(ast.Div, ast.Mult, at=-1), check_loud_part),  # quiet windows count
    ],
)
def test_planted_errors_are_caught(function, mutation, check):
    with planted_error(tonality, function, mutation):
        assert_caught(check)
