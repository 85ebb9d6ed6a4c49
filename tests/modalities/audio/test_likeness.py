"""Likeness of sounds: copies with gain, polarity, shift and noise are alike, other sounds are not."""

import math

import pytest
import torch
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio.features import likeness
from sonolux.modalities.audio.features.likeness import COPY, nearest, nearest_others, planted, prints

RATE, FRAMES = 8000, 8000


def made(n=12, seed=0):
    """Sweeps, trembling noises and plucked tones with random pitch, length and place."""
    rng = torch.Generator().manual_seed(seed)
    t = torch.arange(FRAMES) / RATE
    out = []
    for kind in range(n):
        pitch, length, start, sweep = (float(x) for x in torch.rand(4, generator=rng))
        pitch, length, start = 200 * 8**pitch, 0.1 + 0.4 * length, 0.05 + 0.3 * start
        shape = torch.where(t >= start, torch.exp(-(t - start).clamp(min=0) / length * 3), torch.zeros(()))
        phase = 2 * math.pi * pitch * (t + (sweep - 0.5) * t * t)
        tremble = torch.randn(FRAMES, generator=rng) * torch.sin(phase / 50).clamp(min=0)
        wave = (torch.sin(phase), tremble, torch.sin(phase) + torch.sin(3.7 * phase))[kind % 3]
        out.append((0.4 * shape * wave)[None])
    return out


def check_copies():
    sounds = made()
    alike, which = nearest(planted(sounds, RATE), sounds, RATE)
    assert which.tolist() == list(range(len(sounds))) and float(alike.min()) > COPY
    assert float(alike.max()) <= 1 + 1e-5


def check_others():
    sounds, others = made(), made(seed=1)
    assert float(nearest_others(sounds, RATE).max()) < COPY
    assert float(nearest(others, sounds, RATE)[0].max()) < COPY


def check_noises():
    """Bursts of plain noise, one half as long again, would be alike (0.82) if the mean of the sounding part counted."""
    rng = torch.Generator().manual_seed(3)
    short, long = (torch.zeros(1, FRAMES) for _ in range(2))
    short[:, 1000:5000], long[:, 1000:7000] = (torch.randn(1, n, generator=rng) for n in (4000, 6000))
    assert float(nearest([short], [long], RATE)[0]) < 0.7


CHECKS = [check_copies, check_others, check_noises]


@pytest.mark.parametrize("check", CHECKS)
def test_values(check):
    check()


def test_planted_loss_of_the_shift_is_caught(monkeypatch):
    monkeypatch.setattr(likeness, "likeness", lambda a, b: torch.einsum("nmt,kmt->nk", a, b))
    with pytest.raises(AssertionError):
        check_copies()


def test_planted_loss_of_the_centring_is_caught(monkeypatch):
    def raw(sounds, rate, bands=48):
        wave = torch.stack([s.mean(0) for s in sounds])
        level = (
            dsp.mel_filters(256, rate, 32) @ dsp.stft(torch.nn.functional.pad(wave, (0, 192)), 256, 256).abs()
        ).sqrt()
        return level / level.square().sum((1, 2), keepdim=True).sqrt()

    monkeypatch.setattr(likeness, "prints", raw)
    with pytest.raises(AssertionError):
        check_noises()


def test_planted_wrap_round_is_caught(monkeypatch):
    """Without zeros between the ends, the end of one sound would meet the start of another."""
    start, end = (torch.zeros(1, FRAMES) for _ in range(2))
    wave = torch.sin(torch.arange(4000) * 0.7) * torch.linspace(1, 0, 4000)
    start[:, :2000], end[:, 4000:] = wave[2000:], wave
    whole = torch.zeros(1, FRAMES)
    whole[:, :2000], whole[:, 6000:] = wave[2000:], wave[:2000]
    honest = float(nearest([whole], [end], RATE)[0])
    true = torch.fft.rfft
    monkeypatch.setattr(likeness.torch.fft, "rfft", lambda x, n: true(x, x.shape[-1]))
    monkeypatch.setattr(likeness.torch.fft, "irfft", lambda x, n, dim, inverse=torch.fft.irfft: inverse(x, dim=dim))
    assert float(nearest([whole], [end], RATE)[0]) > honest + 0.05


def test_silence_is_like_nothing():
    silence = torch.zeros(1, FRAMES)
    assert float(prints([silence], RATE).abs().max()) == 0
    assert float(nearest([silence], made(3), RATE)[0]) < 1e-6


def test_sources_of_any_rate():
    for rate in (4000, 22050, 44100):
        tone = torch.sin(torch.arange(rate // 2) * 0.3)[None] * torch.linspace(1, 0, rate // 2)
        assert float(nearest([0.1 * tone], [tone], rate)[0]) == pytest.approx(1, abs=1e-4)
