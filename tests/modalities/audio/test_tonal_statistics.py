"""Statistics of tones: what noise and tones give, and what has no effect."""

import ast

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught, planted_error, set_argument, swap_constant, swap_operator
from sonolux.modalities.audio import tonal_statistics as module
from sonolux.modalities.audio.tonal_statistics import tonal_statistics

RATE = 8000
HNR, CHANGE, DETAIL = slice(0, 3), 3, slice(4, 9)  # of short windows; 9 numbers
LONG_HNR, LONG_CHANGE, LONG_DETAIL, CREST = slice(9, 12), 12, slice(13, 18), slice(18, 23)


def noise(seed=0, count=16000):
    return torch.randn(1, count, generator=torch.Generator().manual_seed(seed))


def tone(hertz=440.0, count=16000):
    return torch.sin(2 * torch.pi * hertz * torch.arange(count) / RATE)[None]


def check_noise_and_tones():
    found = tonal_statistics(torch.cat([noise(), tone()]), RATE)
    assert found.shape == (2, 23) and bool(found.isfinite().all())
    white, steady = found
    for place in (CHANGE, LONG_CHANGE):
        assert 5.5 < float(white[place]) < 7 and float(steady[place]) < 2.5
    assert float((white[LONG_DETAIL] - 5.6).abs().max()) < 0.8, "the level of a bin of noise varies by 5.6 dB"
    assert float(white[HNR][1]) < 0 < 20 < float(steady[HNR][1]) and float(steady[LONG_HNR][1]) > 20
    assert float(steady[CREST][1]) > float(white[CREST][1]) + 3, "the band of the tone"


def check_no_effect():
    """Padding and level have no effect, and neither have the other sounds of a batch."""
    sound = torch.cat([noise(1, 3000) * 0.1 + tone(700.0, 3000), torch.zeros(1, 5000)], 1)
    alone = tonal_statistics(sound[:, :3000], RATE)
    together = tonal_statistics(torch.cat([sound, noise(2, 8000), 1e-3 * sound]), RATE)
    assert torch.allclose(together[:1], alone, atol=0.05) and torch.allclose(together[2:], alone, atol=0.05)


def test_noise_and_tones():
    check_noise_and_tones()


def test_what_has_no_effect():
    check_no_effect()
    silent = tonal_statistics(torch.zeros(2, 100), RATE)
    assert bool(silent.isfinite().all()) and float(silent[:, HNR].max()) < -50, "no tones"
    for rate in (4000, 11025, 44100):
        assert bool(tonal_statistics(noise(count=5), rate).isfinite().all())


@pytest.mark.parametrize(
    ("function", "mutation", "check"),
    [
        ("_change", swap_operator(ast.Sub, ast.Add, at=-1), check_noise_and_tones),
        ("_detail", swap_operator(ast.Sub, ast.Add), check_noise_and_tones),
        ("_spectra", swap_constant(10, 20), check_noise_and_tones),
        ("_crest", swap_constant(10, 20, at=-1), check_noise_and_tones),
        ("_windows", set_argument("pad", 1, "(size // 2, size // 2)"), check_no_effect),  # no window after the end
    ],
)
def test_planted_errors_are_caught(function, mutation, check):
    with planted_error(module, function, mutation):
        assert_caught(check)
