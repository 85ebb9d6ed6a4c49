"""Features without weights: what they tell apart, and what they must not."""

import numpy as np
import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.features.logmel_stats import LogmelStats

SIGNAL = MediaSpec("audio", 1, ("time",), (8000,), (8000.0,))


def sounds(count=140, seed=0):
    data = SynthSfx(SIGNAL, seed=seed)
    return [data.item(i, None).media for i in range(count)]


def test_shape_and_lengths():
    features = LogmelStats()
    made = features(sounds(6), 8000.0)
    assert made.shape == (6, 112) and made.dtype == np.float64 and features.size == 112
    mixed = [torch.randn(1, n) for n in (1, 30, 500, 30000)] + [torch.zeros(2, 100), torch.randn(2, 900)]
    assert np.isfinite(features(mixed, 8000.0)).all()
    assert np.isfinite(features(mixed, 44100.0)).all()
    assert LogmelStats(bands=16, steps=8)([torch.randn(1, 900)], 8000.0).shape == (1, 56)
    assert np.array_equal(LogmelStats(SIGNAL)(sounds(3)), features(sounds(3), 8000.0))
    assert features([], 8000.0).shape == (0, 112)


def test_one_sound_does_not_depend_on_the_others():
    features, some = LogmelStats(), sounds(8)
    assert np.array_equal(features(some, 8000.0)[3:4], features(some[3:4], 8000.0))


def check_invariance():
    """Padding, polarity and hiss 60 dB down are nothing; 6 dB of level is exactly 6 dB in levels and nothing else."""
    features, some = LogmelStats(), sounds(70)
    base = features(some, 8000.0)
    scale = base.std(0)
    padded = features([torch.nn.functional.pad(s, (160, 4000)) for s in some], 8000.0)
    assert np.median(np.abs(padded - base) / scale) < 0.05
    assert np.array_equal(features([-s for s in some], 8000.0), base)
    half = features([0.5 * s for s in some], 8000.0)
    np.testing.assert_allclose(half[:, :32], base[:, :32] - 0.602, atol=2e-3)
    np.testing.assert_allclose(half[:, 32:96], base[:, 32:96], atol=2e-3)
    np.testing.assert_allclose(half[:, 96:], base[:, 96:] - 0.602, atol=2e-3)
    rng = torch.Generator().manual_seed(0)
    hiss = features([s + 1e-3 * s.abs().max() * torch.randn(s.shape, generator=rng) for s in some], 8000.0)
    assert np.median(np.abs(hiss - base) / scale) < 0.15


@pytest.mark.slow
def test_invariance():
    check_invariance()


@pytest.mark.slow
@pytest.mark.parametrize("error", ["absolute floor", "padding kept"])
def test_planted_error_is_caught(error, monkeypatch):
    if error == "absolute floor":
        monkeypatch.setattr(LogmelStats, "_db", lambda self, a: dsp.amplitude_to_db(a, -120.0))
    else:
        monkeypatch.setattr(dsp, "trim_silence", lambda x, rate: x)
    assert_caught(check_invariance)


@pytest.mark.slow
def test_distances_grow_with_the_damage():
    features = LogmelStats()
    real, held_out = features(sounds(), 8000.0), features(sounds(seed=1), 8000.0)

    def distance(x):  # between means, in deviations
        return float(np.linalg.norm((x.mean(0) - real.mean(0)) / real.std(0)))

    rng = torch.Generator().manual_seed(0)
    hissing = features([s + 0.05 * torch.randn(s.shape, generator=rng) for s in sounds(seed=1)], 8000.0)
    white = features([torch.randn(s.shape, generator=rng) * 0.2 for s in sounds(seed=1)], 8000.0)
    assert 3 * distance(held_out) < distance(hissing) < distance(white)


def test_bad_values():
    with pytest.raises(BadInput, match="non-finite"):
        LogmelStats()([torch.full((1, 900), float("nan"))], 8000.0)
    with pytest.raises(BadInput, match="rate"):
        LogmelStats()([torch.zeros(1, 9)])
    for bad in ({"bands": 1}, {"steps": 0}, {"floor": 0.0}):
        with pytest.raises(BadInput, match="logmel_stats"):
            LogmelStats(**bad)
