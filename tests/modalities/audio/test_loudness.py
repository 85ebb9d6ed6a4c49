"""Loudness against the standard's tables, tones of known loudness, and an independent recursive filter."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from scipy import signal
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.modalities.audio import dsp, loudness

# BS.1770-4, tables 1 and 2: coefficients at 48 kHz.
SHELF = ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585])
HIGH_PASS = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])


def sine(hertz, rate, seconds, db=0.0, channels=1):
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (10 ** (db / 20) * torch.sin(2 * math.pi * hertz * t)).expand(channels, -1).clone()


def messy(rate, seconds=3.0, channels=2, seed=0):
    """Noise whose level wanders over 60 dB."""
    rng = np.random.default_rng(seed)
    level = 10 ** (-3 * np.abs(np.sin(np.arange(round(seconds * rate)) / rate * 1.3)))
    return torch.from_numpy(rng.normal(size=(channels, len(level))) * level * 0.1)


def by_recursion(wave):
    """Integrated loudness at 48 kHz with the tables' coefficients, sample by sample and block by block."""
    y = signal.lfilter(*HIGH_PASS, signal.lfilter(*SHELF, wave.numpy()))
    blocks = np.array([(y[:, j : j + 19200] ** 2).mean(1).sum() for j in range(0, y.shape[1] - 19200 + 1, 4800)])
    level = -0.691 + 10 * np.log10(blocks)
    first = blocks[level > -70]
    second = first[10 * np.log10(first) > 10 * np.log10(first.mean()) - 10]
    return -0.691 + 10 * np.log10(second.mean())


def check_coefficients():
    for mine, table in zip(loudness.k_weighting_biquads(48000), (SHELF, HIGH_PASS), strict=True):
        for have, want in zip(mine, table, strict=True):
            assert have == pytest.approx(want, abs=1e-6)


def check_tones():
    for rate in (8000, 11025, 44100, 48000, 96000):
        assert loudness.integrated_loudness(sine(997, rate, 2), rate) == pytest.approx(-3.01, abs=0.02)
    assert loudness.integrated_loudness(sine(1000, 48000, 5, -23, 2), 48000) == pytest.approx(-23.0, abs=0.05)
    assert loudness.integrated_loudness(sine(1000, 48000, 5, -33, 2), 48000) == pytest.approx(-33.0, abs=0.05)


def check_gates():
    """EBU Tech 3341, cases 3 to 5, shortened: quiet parts around loud ones do not count; silence never does."""
    parts = [(-36, 4), (-23, 24), (-36, 4)]
    wave = torch.cat([sine(1000, 48000, s, db, 2) for db, s in parts], 1)
    assert loudness.integrated_loudness(wave, 48000) == pytest.approx(-23.0, abs=0.1)
    parts = [(-72, 4), (-36, 4), (-23, 24), (-36, 4), (-72, 4)]
    wave = torch.cat([sine(1000, 48000, s, db, 2) for db, s in parts], 1)
    assert loudness.integrated_loudness(wave, 48000) == pytest.approx(-23.0, abs=0.1)
    assert loudness.integrated_loudness(sine(1000, 48000, 2, -71, 2), 48000) is None
    wave = torch.cat([sine(1000, 48000, s, db, 2) for db, s in [(-26, 20), (-20, 20.1), (-26, 20)]], 1)
    assert loudness.integrated_loudness(wave, 48000) == pytest.approx(-23.0, abs=0.1)


def check_recursion():
    for seed in range(3):
        wave = messy(48000, seed=seed)
        assert loudness.integrated_loudness(wave, 48000) == pytest.approx(by_recursion(wave), abs=1e-6)


def check_pieces():
    """More than one piece of overlap-add equals one."""
    wave = messy(48000, seconds=12)
    size = loudness._LONGEST
    whole = loudness.apply_k_weighting(wave, 48000)
    try:
        loudness._LONGEST = 1 << 22
        assert float((loudness.apply_k_weighting(wave, 48000) - whole).abs().max()) < 1e-12
    finally:
        loudness._LONGEST = size


CHECKS = [check_coefficients, check_tones, check_gates, check_recursion, check_pieces]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_values(check):
    check()


PLANTED = [
    ("RELATIVE", -20.0, check_gates),
    ("ABSOLUTE", -140.0, check_gates),
    ("OFFSET", 0.0, check_tones),
    ("HOP", 0.4, check_recursion),
    ("_TAIL", 0.0, check_pieces),
    ("_RATE", 44100.0, check_coefficients),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value", "check"), PLANTED)
def test_planted_errors_are_caught(monkeypatch, name, value, check):
    loudness._response.cache_clear()
    if name == "_RATE":
        original = loudness.k_weighting_biquads
        monkeypatch.setattr(loudness, "k_weighting_biquads", lambda rate=48000.0: original(value))
    monkeypatch.setattr(loudness, name, value)
    assert_caught(check)


def test_channels_add_up():
    one = loudness.integrated_loudness(sine(1000, 48000, 1), 48000)
    assert loudness.integrated_loudness(sine(1000, 48000, 1, 0, 2), 48000) == pytest.approx(one + 3.0103, abs=1e-3)
    rear, low = torch.zeros(2, 6, 48000, dtype=torch.float64)
    rear[4] = low[3] = sine(1000, 48000, 1)[0]
    assert loudness.integrated_loudness(rear, 48000) == pytest.approx(one + 10 * math.log10(1.41), abs=1e-3)
    assert loudness.integrated_loudness(low, 48000) is None


@pytest.mark.parametrize("rate", [8000, 22050])
def test_a_recording_has_one_loudness_at_any_rate(rate):
    wave = messy(rate, channels=1).float()
    wave = dsp.resample(dsp.resample(wave, rate, rate / 2), rate / 2, rate)  # nothing near half the rate
    assert loudness.integrated_loudness(dsp.resample(wave, rate, 48000), 48000) == pytest.approx(
        loudness.integrated_loudness(wave, rate), abs=0.02
    )


def test_short_sounds_fall_back():
    short = sine(997, 48000, 0.399)
    assert loudness.integrated_loudness(short, 48000) is None
    assert loudness.measure_loudness(short, 48000).method == "active"
    assert loudness.measure_loudness(short, 48000).level == pytest.approx(-3.01, abs=0.1)
    padded = torch.cat([torch.zeros(1, 30000), short[:, :14400], torch.zeros(1, 30000)], 1)
    assert loudness.active_loudness(padded, 48000) == pytest.approx(
        -3.01, abs=0.3
    )  # the filter rings for a block or two
    assert loudness.measure_loudness(sine(997, 48000, 1), 48000).method == "integrated"


def test_silence_has_no_loudness():
    for frames in (0, 10, 48000):
        assert loudness.measure_loudness(torch.zeros(1, frames), 48000).level is None
    assert loudness.loudness_gain(torch.zeros(2, 48000), 48000) == 1.0
    with pytest.raises(BadInput, match="finite"):
        loudness.integrated_loudness(torch.full((1, 48000), math.nan), 48000)
    with pytest.raises(BadInput, match="rate above"):
        loudness.k_weighting_biquads(3000)


def check_true_peak():
    """A sine at a quarter of the rate, sampled 45 degrees off its tops: 3.01 dB between the samples."""
    n = torch.arange(4800, dtype=torch.float64)
    wave = (torch.sin(math.pi / 2 * n + math.pi / 4) * torch.hann_window(4800, dtype=torch.float64))[None]
    assert float(wave.abs().max()) < 0.7072
    assert loudness.true_peak(wave, 48000) == pytest.approx(0.0, abs=0.05)


def test_true_peak():
    check_true_peak()
    assert loudness.true_peak(torch.zeros(1, 0), 48000) == pytest.approx(-240)


def test_planted_sample_peak_is_caught(monkeypatch):
    monkeypatch.setattr(loudness.dsp, "resample", lambda x, rate, target: x)
    assert_caught(check_true_peak)


def check_gain():
    for wave in (messy(48000), sine(500, 48000, 0.2)):
        for target in (-40.0, -23.0, 0.0):
            factor = loudness.loudness_gain(wave, 48000, target, ceiling=-1.0)
            level, peak = (
                loudness.measure_loudness(wave * factor, 48000).level,
                loudness.true_peak(wave * factor, 48000),
            )
            assert peak < -0.99 and level < target + 0.01
            assert level == pytest.approx(target, abs=0.01) or peak == pytest.approx(-1.0, abs=0.01)


@pytest.mark.slow
def test_gain_reaches_the_target_or_the_ceiling():
    check_gain()


@pytest.mark.slow
def test_planted_gain_is_caught(monkeypatch):
    monkeypatch.setattr(loudness.dsp, "db_to_amplitude", lambda level: 10 ** (level / 10))
    assert_caught(check_gain)


def test_pyloudnorm_agrees():
    if importlib.util.find_spec("pyloudnorm") is None:
        pytest.skip("pyloudnorm is not installed")
    import pyloudnorm

    wave = messy(48000)
    assert loudness.integrated_loudness(wave, 48000) == pytest.approx(
        pyloudnorm.Meter(48000).integrated_loudness(wave.T.numpy()), abs=0.05
    )
