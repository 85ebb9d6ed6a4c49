"""Similarity of sounds: copies with gain, polarity, shift and noise are found, other sounds are not."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sonolux.core.evaluation.near_copies import ALTERATIONS
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.modalities.audio import similarity
from sonolux.modalities.audio.similarity import COPY, make_altered_sounds, nearest_sounds

RATE, FRAMES = 8000, 8000


def made(n=12, seed=0):
    """Sounds of six strokes each: sweeps and trembling noises of random pitch, length, level and place."""
    rng = torch.Generator().manual_seed(seed)
    t, out = torch.arange(FRAMES) / RATE, []
    for _ in range(n):
        wave = 1e-5 * torch.randn(FRAMES, generator=rng)
        for stroke in range(6):
            pitch, length, start, sweep, level = (float(x) for x in torch.rand(5, generator=rng))
            pitch, length, start = 150 * 20**pitch, 0.03 + 0.1 * length, 0.05 + 0.5 * start
            since = (t - start).clamp(min=0)
            shape = (0.3 + 0.7 * level) * torch.where(t >= start, torch.exp(-since / length), torch.zeros(()))
            phase = 2 * math.pi * pitch * (since + (sweep - 0.5) * since * since)
            tremble = torch.randn(FRAMES, generator=rng) * torch.sin(phase / 20).clamp(min=0)
            wave = wave + 0.3 * shape * (tremble if stroke == 5 else torch.sin(phase))
        out.append(wave[None])
    return out


def check_copies():
    """Gain and shift: every copy above the limit, of the right sound. Cut sounds: most of them."""
    sounds = made()
    for kind in ("gain", "shift"):
        alike, which = nearest_sounds(make_altered_sounds(sounds, RATE, kind), sounds, RATE)
        assert which.tolist() == list(range(len(sounds))) and float(alike.min()) > COPY, kind
        assert float(alike.max()) <= 1
    alike, which = nearest_sounds(make_altered_sounds(sounds, RATE, "crop"), sounds, RATE)
    assert float((alike > COPY).double().mean()) >= 0.9 and float(alike.max()) <= 1


def check_others():
    sounds, others = made(), made(seed=1)
    apart = [nearest_sounds([s], sounds[:i] + sounds[i + 1 :], RATE).similarity for i, s in enumerate(sounds)]
    assert float(torch.cat(apart).max()) < COPY
    assert float(nearest_sounds(others, sounds, RATE)[0].max()) < COPY


def check_noises():
    """Bursts of plain noise, one half as long again, would be alike (0.82) if the mean of the sounding part counted."""
    rng = torch.Generator().manual_seed(3)
    short, long = (torch.zeros(1, FRAMES) for _ in range(2))
    short[:, 1000:5000], long[:, 1000:7000] = (torch.randn(1, n, generator=rng) for n in (4000, 6000))
    assert float(nearest_sounds([short], [long], RATE)[0]) < 0.75


CHECKS = [check_copies, check_others, check_noises]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_values(check):
    check()


@pytest.mark.slow
def test_planted_loss_of_the_shift_is_caught(monkeypatch):
    true = similarity._coarse_similarity

    def unshifted(a, b):
        values, shifts = true(a, b)
        return values, torch.zeros_like(shifts)

    monkeypatch.setattr(similarity, "_coarse_similarity", unshifted)
    assert_caught(check_copies)


def test_planted_comparison_with_the_whole_is_caught(monkeypatch):
    """Where the whole of b counts and not what lies under a, a part of b is not like b."""

    def whole(b, start, frames):
        return b[:, None, :frames].double().expand(-1, 2 * similarity._REACH + 1, -1)

    monkeypatch.setattr(similarity, "_shifted_windows", whole)
    with pytest.raises((AssertionError, RuntimeError)):
        check_copies()


def test_planted_loss_of_the_centring_is_caught(monkeypatch):
    monkeypatch.setattr(similarity, "_centred", lambda x, axes: x)
    assert_caught(check_noises)


def test_planted_wrap_round_is_caught(monkeypatch):
    """Without zeros between the ends, the end of one sound would meet the start of another."""
    a, b = torch.zeros(1, 4, 40), torch.zeros(1, 4, 40)
    pattern = torch.rand(4, 20, generator=torch.Generator().manual_seed(0)) + 0.5
    a[0, :, 10:30] = pattern
    b[0, :, 30:], b[0, :, :10] = pattern[:, :10], pattern[:, 10:]
    honest = float(similarity._coarse_similarity(a, b)[0])
    true, inverse = torch.fft.rfft, torch.fft.irfft
    monkeypatch.setattr(similarity.torch.fft, "rfft", lambda x, n: true(x, x.shape[-1]))
    monkeypatch.setattr(similarity.torch.fft, "irfft", lambda x, n, dim: inverse(x, dim=dim))
    assert honest < 0.9 and float(similarity._coarse_similarity(a, b)[0]) > 0.95


def test_the_coarse_correlation_is_pearsons():
    """Against numpy's correlation coefficient of the overlapping frames, at every shift."""
    rng = torch.Generator().manual_seed(1)
    a, b = torch.zeros(1, 5, 30), torch.rand(3, 5, 30, generator=rng)
    a[0, :, 8:20] = torch.rand(5, 12, generator=rng) + 0.2
    found, shift = similarity._coarse_similarity(a, b)
    for m in range(3):
        edge = similarity._EDGE[0]
        part = a[0, :, 8 + edge : 20 - edge].flatten().double().numpy()
        best = -1.0, 0
        for k in range(-8, 12):
            under = torch.nn.functional.pad(b[m], (40, 40))[:, 40 + 8 + edge + k : 40 + 20 - edge + k]
            if float(under.square().sum()) > similarity._SHARE * float(b[m].square().sum()):
                best = max(best, (float(np.corrcoef(part, under.flatten().double().numpy())[0, 1]), k))
        assert float(found[0, m]) == pytest.approx(best[0], abs=1e-4) and int(shift[0, m]) == best[1]


def test_silence_is_like_nothing():
    silence = torch.zeros(1, FRAMES)
    assert float(nearest_sounds([silence], made(3), RATE)[0]) < 1e-6
    assert float(nearest_sounds(made(3), [silence] * 3, RATE)[0].max()) < 1e-6


def test_bad_kind():
    with pytest.raises(BadInput, match="kind is 'copy'"):
        make_altered_sounds(made(1), RATE, "copy")
    assert set(ALTERATIONS) == {"gain", "shift", "crop"}


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["sfx", "spoken_digits"])
def test_copies_among_real_sounds(folder):
    """Recall of planted copies at 1 % false alarms: 95 % or more, over gain, shift and crop together."""
    base = os.environ.get("SONOLUX_DATA")
    if not base or not (Path(base) / folder).is_dir():
        pytest.skip("needs SONOLUX_DATA with the real data")
    from sonolux.core.config.load import load_recipe
    from sonolux.core.training.build import build_dataset

    recipe = load_recipe({"sfx": "sfx_folder"}.get(folder, folder), [f"data.root={Path(base) / folder}"])
    train, held = (build_dataset(recipe, split)[0] for split in ("train", "valid"))
    rate = recipe.modality.build().rate
    sounds = [train.item(i, None).media for i in range(0, len(train), max(1, len(train) // 600))]
    others = [held.item(i, None).media for i in range(0, len(held), max(1, len(held) // 150))]
    limit = float(nearest_sounds(others, sounds, rate)[0].quantile(0.99)) if len(others) >= 100 else COPY
    for kind in ALTERATIONS:
        found = nearest_sounds(make_altered_sounds(sounds[:60], rate, kind), sounds, rate)[0] > limit
        print(f"{folder}: {kind} {float(found.double().mean()):.1%} above {limit:.3f}")
        assert float(found.double().mean()) >= (0.9 if kind == "crop" else 0.95)


def test_sources_of_any_rate():
    for rate in (4000, 22050, 44100):
        tone = torch.sin(torch.arange(rate // 2) * 0.3)[None] * torch.linspace(1, 0, rate // 2)
        assert float(nearest_sounds([0.1 * tone], [tone], rate)[0]) == pytest.approx(1, abs=1e-4)
