"""Near copies: planted ones with gain, polarity, shift, crop, noise, other formats and rates; takes of one thing."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.util import progress
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio import io as sound_io
from sonolux.modalities.audio.prepare import near_copies as near
from sonolux.modalities.audio.prepare.near_copies import NearCopyFinder

RATE = 11025
KINDS = ("gain", "shift", "crop", "all", "mp3", "rate")


def made(count=24, seed=0):
    """Bursts of noise in bands, glides and struck bars, each with its own outline, 0.3 to 1 s."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        t = np.arange(round(rng.uniform(0.3, 1.0) * RATE)) / RATE
        outline = np.exp(-t * rng.uniform(2, 8)) * (1 + 0.6 * np.sin(2 * np.pi * rng.uniform(4, 15) * t))
        pitch = rng.uniform(200, 1500)
        kind = (
            rng.normal(size=len(t)) * np.sin(2 * np.pi * pitch * t),
            np.sin(2 * np.pi * (pitch * t + rng.uniform(-400, 400) * t**2)),
            sum(np.sin(2 * np.pi * pitch * k * t) / k for k in (1, 2.76, 5.4)),
        )[i % 3]
        out.append(torch.from_numpy(0.3 * kind * outline).float())
    return out


def planted(wave, rate, kind, rng):
    """(wave, rate) of a copy."""
    x = wave
    if kind in ("crop", "all"):
        keep = rng.uniform(0.5, 0.9)
        start = int(rng.uniform(0, 1 - keep) * len(x))
        x = x[start : start + int(keep * len(x))]
    if kind in ("shift", "all"):
        x = torch.nn.functional.pad(x, (int(rng.uniform(0, 0.14) * rate), int(rng.uniform(0, 0.1) * rate)))
    if kind == "mp3":
        file = io.BytesIO()
        soundfile.write(file, x.numpy(), rate, format="MP3")
        file.seek(0)
        x = torch.from_numpy(soundfile.read(file, dtype="float32")[0])
    if kind == "rate":
        return dsp.resample(x, rate, 16000) * 0.7, 16000
    noise = torch.from_numpy(rng.normal(size=len(x))).float() * x.abs().max() * dsp.db_to_amplitude(-40)
    return (x + noise) * dsp.db_to_amplitude(rng.uniform(-18, 0)) * rng.choice([-1.0, 1.0]), rate


def sound(wave, rate):
    return sound_io.DecodedSound(wave[None].float(), float(rate), {})


def recall(waves, rates, seed=1):
    """(share of planted copies found, by kind; pairs found among the originals)."""
    rng = np.random.default_rng(seed)
    copies = NearCopyFinder(2 * len(waves))
    fingerprints = [copies.fingerprint(sound(w, r)) for w, r in zip(waves, rates, strict=True)]
    kinds = [KINDS[i % len(KINDS)] for i in range(len(waves))]
    later = [copies.fingerprint(sound(*planted(w, r, k, rng))) for w, r, k in zip(waves, rates, kinds, strict=True)]
    pairs = {(p.first, p.second) for p in copies.near_copy_pairs([*fingerprints, *later])}
    n = len(waves)
    found = {k: np.mean([(i, n + i) in pairs for i in range(n) if kinds[i] == k]) for k in KINDS}
    return found, [p for p in pairs if max(p) < n], [p for p in pairs if p[1] >= n and p[1] - n != p[0]]


def check_recall():
    found, own, wrong = recall(made(48), [RATE] * 48)
    assert np.mean(list(found.values())) >= 0.95 and min(found.values()) >= 0.85, found
    assert not own and len(wrong) <= 1


@pytest.mark.slow
def test_recall():
    check_recall()


PLANTED = [
    ("_distinct_lags", lambda hits, count=2: [near._Hit(h.similar, h.lag + 400) for h in hits[:1]]),
    ("_RANGE", 2.0),
    ("_to_8k", lambda x, rate: x),  # the rate is not what it says
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "error"), PLANTED, ids=[row[0] for row in PLANTED])
def test_planted_errors_are_caught(monkeypatch, name, error):
    monkeypatch.setattr(near, name, error)
    assert_caught(check_recall)


@pytest.mark.slow
def test_a_loose_threshold_is_caught(monkeypatch):
    monkeypatch.setattr(near, "COPY", 0.3)
    monkeypatch.setattr(near, "_SIMILAR", 0.5)
    assert_caught(check_recall)


def test_takes_of_one_thing_are_no_copies():
    """The same band, outline and length, other noise: what a set of footsteps is."""
    rng = np.random.default_rng(0)
    t = np.arange(4000) / 8000
    clip_lengths = [torch.from_numpy(rng.normal(size=4000) * np.exp(-10 * t)).float() * 0.2 for _ in range(12)]
    copies = NearCopyFinder(12)
    assert copies.near_copy_pairs([copies.fingerprint(sound(w, 8000)) for w in clip_lengths]) == []


def test_odd_traces():
    copies = NearCopyFinder(4)
    assert (
        copies.fingerprint(sound(torch.zeros(8000), 8000)) is None
        and copies.fingerprint(sound(torch.ones(20), 8000)) is None
    )
    assert copies.near_copy_pairs([]) == [] and copies.near_copy_pairs([None, None]) == []
    one = copies.fingerprint(sound(made(1)[0], RATE))
    assert copies.near_copy_pairs([one, None]) == []
    assert [(p.first, p.second, round(p.similarity, 3)) for p in copies.near_copy_pairs([None, one, one])] == [
        (1, 2, 1.0)
    ]


def test_the_progress_counts_what_it_names(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", -1.0)
    copies = NearCopyFinder()
    one = copies.fingerprint(sound(made(1)[0], RATE))
    copies.near_copy_pairs([one, one, one])
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["searching for copies: block 1 of 1", *(f"comparing sounds: pair {i} of 3" for i in (1, 2, 3))]


def test_memory_is_shared_out():
    assert NearCopyFinder(10).max_samples == 30 * near.RATE and NearCopyFinder(100_000).max_samples == 2 * near.RATE
    assert len(NearCopyFinder(100_000).fingerprint(sound(torch.randn(60 * 8000), 8000))) <= 2 * near.RATE


@pytest.mark.slow
@pytest.mark.skipif("SONOLUX_DATA" not in os.environ, reason="SONOLUX_DATA names no folder of real data")
def test_recall_on_real_sounds():
    paths = sorted((Path(os.environ["SONOLUX_DATA"]) / "sfx").glob("*.wav"))
    real = [sound_io.read_sound(path) for path in paths]
    found, own, _ = recall([s.wave[0] for s in real], [round(s.rate) for s in real])
    assert np.mean(list(found.values())) >= 0.95, found
    names = {(paths[a].name, paths[b].name) for a, b in own}
    assert names == {("dsnoway.wav", "dsskldth.wav")}
