"""How alike two sounds are whatever their gain, polarity and place in time: finds near copies of training files.

The loud part of a mel spectrogram, P = max(0, (S / max S)^(1/2) - 0.2), less its mean over the frames that sound, is
laid over another's at every shift:

    likeness(a, b) = max_k sum_{m,t} A[m, t] B[m, t + k] / (|A| |B|)

1 for the same sound, about 0.6 for the nearest of unrelated ones. Below -28 dB of the loudest bin nothing counts, so
that faint noise in the silence around a short sound does not hide a copy; without the mean removed, any two noises
would be alike. (Bursts of plain noise that fade alike still are: nothing but their length tells them apart.)

COPY was chosen on 109 game sounds of 0.1 to 7 s (94 to copy, 2 s at 11 kHz): 97 % of all sounds are below 0.84 to every
other file (the rest are sounds that share a recording), while all copies with gain 0 to -12 dB, shift -30 to +140 ms
and noise at -40 dB of the peak are above 0.95, and after a log-mel and Griffin-Lim round trip, which keeps no phase,
above 0.93. A correlation of waveforms finds the former and misses the latter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .. import dsp

COPY = 0.9
"""Sounds that are more alike than this are near copies."""

_FLOOR = 0.2  # of the square root of the magnitude: -28 dB
_ROOM = 20_000_000  # correlations held at a time: 80 MB


def prints(sounds: Sequence[Tensor], rate: float, bands: int = 48) -> Tensor:
    """What likeness compares, (N, bands, frames), of norm 1, for sounds (C, frames) of equal length at `rate` Hz.

    Windows of about 46 ms, an eighth of that apart; a silent sound gives zeros.
    """
    n_fft = 2 ** round(math.log2(0.046 * rate))
    hop = n_fft // 8
    wave = torch.stack([sound.float().mean(0) for sound in sounds])
    wave = functional.pad(wave, (0, -wave.shape[-1] % hop))
    magnitude = dsp.mel_filters(n_fft, rate, bands) @ dsp.stft(wave, n_fft, hop).abs()
    magnitude = magnitude / magnitude.amax((1, 2), keepdim=True).clamp(min=dsp.SILENCE)
    loud = (magnitude.sqrt() - _FLOOR).clamp(min=0)
    sounding = (loud.amax(1, keepdim=True) > 0.05 * loud.amax((1, 2), keepdim=True)).float()
    mean = (loud * sounding).sum((1, 2), keepdim=True) / (sounding.sum((1, 2), keepdim=True) * bands).clamp(min=1)
    centred = (loud - mean) * sounding
    return centred / centred.square().sum((1, 2), keepdim=True).sqrt().clamp(min=dsp.SILENCE)


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """The largest correlation over all shifts, (N, M), between prints a (N, bands, frames) and b (M, bands, frames)."""
    size = a.shape[-1] + b.shape[-1]  # zeros between the ends: shifts do not wrap round
    there = torch.fft.rfft(b, size).permute(2, 1, 0)  # (F, bands, M)
    rows = []
    for part in a.split(max(1, _ROOM // (len(b) * size))):
        here = torch.fft.rfft(part, size).conj().permute(2, 0, 1)  # (F, n, bands)
        rows.append(torch.fft.irfft(here @ there, size, dim=0).amax(0))
    return torch.cat(rows)


def nearest(sounds: Sequence[Tensor], training: Sequence[Tensor], rate: float) -> tuple[Tensor, Tensor]:
    """For each sound its largest likeness to a training sound (N,), and that one's index (N,)."""
    found = likeness(prints(sounds, rate), prints(training, rate)).max(dim=1)
    return found.values, found.indices


def nearest_others(sounds: Sequence[Tensor], rate: float) -> Tensor:
    """For each sound its largest likeness to another of the same set, (N,): what unrelated sounds reach."""
    own = prints(sounds, rate)
    return likeness(own, own).fill_diagonal_(-1.0).amax(1)


def planted(sounds: Sequence[Tensor], rate: float, seed: int = 0) -> list[Tensor]:
    """Copies as a test of the threshold: gain 0 to -12 dB, either polarity, shift -30 to 140 ms, noise at -40 dB."""
    rng = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=rng))

    copies = []
    for sound in sounds:
        frames, shift = sound.shape[-1], int(draw(-0.03, 0.14) * rate)
        moved = functional.pad(sound, (max(shift, 0), max(-shift, 0)))
        moved = moved[..., :frames] if shift >= 0 else moved[..., -frames:]
        noise = torch.randn(moved.shape, generator=rng) * moved.abs().max() * dsp.amplitude(-40)
        sign = 1.0 if draw(0, 1) < 0.5 else -1.0
        copies.append(sign * dsp.amplitude(draw(-12, 0)) * (moved + noise))
    return copies
