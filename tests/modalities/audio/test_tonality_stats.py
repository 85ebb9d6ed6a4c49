"""The feature of tones: it tells noise of the same bands from tones, and leaves sounds after exact codecs alone."""

import numpy as np
import pytest
import torch
from sonolux.core.evaluation.features import standardise_features
from sonolux.core.evaluation.metrics.mmd import squared_mmd
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio.codecs.stft import Stft
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.features import tonality_stats
from sonolux.modalities.audio.features.logmel_stats import LogmelStats
from sonolux.modalities.audio.features.tonality_stats import TonalityStats
from sonolux.modalities.audio.noise_substitution import replace_tones_by_noise

SIGNAL = MediaSpec("audio", 1, ("time",), (8000,), (8000.0,))


def sounds(count, seed=0):
    data = SynthSfx(SIGNAL, seed=seed)
    return [data.item(i, None) for i in range(count)]


def test_each_sound_is_measured_by_itself():
    mixed = [torch.randn(2, n, generator=torch.Generator().manual_seed(n)) for n in (900, 30, 4000, 1, 700)]
    mixed.append(torch.zeros(1, 50))
    found = TonalityStats(SIGNAL)(mixed)
    assert found.shape == (6, 23) and found.dtype == np.float64 and np.isfinite(found).all()
    for i, sound in enumerate(mixed):
        np.testing.assert_allclose(TonalityStats()([sound], 8000.0)[0], found[i], atol=0.05)
    assert TonalityStats(SIGNAL)([]).shape == (0, 23)
    with pytest.raises(BadInput, match="rate in Hz"):
        TonalityStats()(mixed)
    with pytest.raises(BadInput, match="non-finite"):
        TonalityStats(SIGNAL)([torch.full((1, 90), torch.nan)])


def check_hearing(feature):
    """Noise in the place of tones is above 39 of 40 draws of real sounds; sounds after an exact codec are not."""
    items = sounds(200)
    real = [item.media for item in items]
    noise = replace_tones_by_noise(real, 8000.0)
    codec = Stft(SIGNAL)
    codec.fit(items)
    exact = list(codec.decode(codec.encode(torch.stack(real)), 8000))
    known, *others = (feature(some) for some in (real, noise, exact))
    known, *others = standardise_features(known, known, *others)
    seen, rng = [[], []], np.random.default_rng(0)
    orders = [rng.permutation(200) for _ in range(40)]
    limit = np.quantile([squared_mmd(known[o[:100]], known[o[100:]]) for o in orders], 0.975)
    for order in orders[:10]:
        for some, hits in zip(others, seen, strict=True):
            hits.append(squared_mmd(some[order[:100]], known[order[100:]]) > limit)
    assert np.mean(seen[0]) >= 0.95 and np.mean(seen[1]) <= 0.1, seen


@pytest.mark.slow
def test_noise_in_the_place_of_tones_is_heard():
    check_hearing(TonalityStats(SIGNAL))


@pytest.mark.slow
def test_features_of_bands_do_not_hear_it():
    assert_caught(check_hearing, LogmelStats(SIGNAL))


@pytest.mark.slow
def test_planted_statistics_without_tones_are_caught(monkeypatch):
    true = tonality_stats.tonal_statistics
    monkeypatch.setattr(tonality_stats, "tonal_statistics", lambda waves, rate: true(waves, rate)[:, [4, 5]])
    assert_caught(check_hearing, TonalityStats(SIGNAL))
