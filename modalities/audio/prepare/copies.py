"""Near copies among sound files: one recording twice, whatever its level, polarity, place, length, rate and format.

Two stages. Short patches of a coarse log-mel picture, each relative to its own loudest point, are compared between all
files: that is fast, and knows no level and no place. What is similar there is then laid over each other as waveforms:
copies agree sample by sample, takes of one thing do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ....core.data.files import progress
from ....core.data.prepare.copies import nearest
from ....core.data.prepare.types import Pair
from .. import dsp
from .. import io as files

COPY = 0.95
"""Correlation of the waveforms from which on two sounds count as one recording."""

RATE = 8000
_N_FFT, _HOP, _BANDS, _PATCH = 256, 64, 12, 12  # a patch lasts 96 ms
_QUERIES = 6  # patches of a file that are looked for elsewhere
_SIMILAR = 0.955  # cosine of two patches from which on the waveforms are compared
_RANGE = 40.0  # dB of a patch
_PARTNERS = 5  # most files that one file is compared with
_BLOCK, _LOUD = 40, 0.01  # what is compared: blocks of 5 ms within 20 dB of the loudest
_REACH = 100  # samples around the lag that the patches tell
_SHARE = 0.4  # of the sounding part must lie in the overlap
_ROOM = 256_000_000  # bytes of traces
_FRAMES = 400_000  # most patches that are held at a time; longer files are looked at more coarsely


@dataclass(frozen=True)
class _Hit:
    """Patches of two files that are similar: a's sample i lies where b's sample i + lag does."""

    similar: float
    lag: int


class Copies:
    """Finds pairs among traces; a trace is the sounding part of a file, mono at 8 kHz, as 16-bit numbers.

    count: files to come, between which the memory is shared: a trace holds 2 to 30 s
    """

    def __init__(self, count: int = 1):
        self.most = int(min(30 * RATE, max(2 * RATE, _ROOM / 2 / max(1, count))))

    def trace(self, sound: files.Sound) -> np.ndarray | None:
        """What is compared of a sound; None where that is too short or silent."""
        mono = files.to_channels(sound.wave, 1)
        start = dsp.onset(mono, sound.rate)
        mono = mono[:, start : start + math.ceil((self.most / RATE + 1) * sound.rate)]
        wave = dsp.trim(_to_8k(mono - dsp.offset(mono), round(sound.rate)), RATE, floor=-30.0, window=0.005)
        wave = wave[0, : self.most]
        if len(wave) < _BLOCK or float(wave.abs().max()) < dsp.SILENCE:
            return None
        return (wave / wave.abs().max() * 32767).round().to(torch.int16).numpy()

    def pairs(self, traces: Sequence[np.ndarray | None]) -> list[Pair]:
        """Every pair whose waveforms correlate by COPY or more, best first."""
        waves = {i: torch.from_numpy(t).float() / 32767 for i, t in enumerate(traces) if t is not None}
        found = []
        likely = _similar(waves)
        for (a, b), hits in progress(likely.items(), "comparing copies", len(likely)):
            likeness = 0.0
            for hit in _apart(hits):
                likeness = max(likeness, _laid_over(waves[a], waves[b], hit.lag))
            if likeness >= COPY:
                found.append(Pair(a, b, min(1.0, likeness)))
        return sorted(found, key=lambda p: -p.likeness)


def _to_8k(x: Tensor, rate: int) -> Tensor:
    """(..., frames) -> 8 kHz, by cutting or padding the spectrum: exact where both ends are quiet, and fast."""
    common = math.gcd(rate, RATE)
    n = -(-x.shape[-1] // (rate // common)) * (rate // common)
    m = n * RATE // rate
    spectrum = torch.fft.rfft(functional.pad(x, (0, n - x.shape[-1])))[..., : min(n, m) // 2 + 1]
    return torch.fft.irfft(spectrum, m) * (m / n)


def _patches(wave: Tensor) -> tuple[Tensor, Tensor]:
    """(frames, d) unit vectors, one patch from each frame on, and each frame's level in dB under the loudest."""
    wave = functional.pad(wave, (0, -len(wave) % _HOP))
    filters = dsp.mel_filters(_N_FFT, RATE, 2 * _BANDS).reshape(_BANDS, 2, -1).sum(1)
    bands = (filters @ dsp.stft(wave, _N_FFT, _HOP).abs()).T
    level = dsp.db(bands / bands.max().clamp(min=dsp.SILENCE), floor=-60.0)
    patch = functional.pad(level, (0, 0, 0, _PATCH), value=-60.0).unfold(0, _PATCH, 1)[: len(level)].flatten(1)
    patch = (patch - patch.amax(1, keepdim=True) + _RANGE).clamp(min=0)
    patch = patch - patch.mean(1, keepdim=True)
    return patch / patch.norm(dim=1, keepdim=True).clamp(min=1e-6), level.amax(1)


def _queries(level: Tensor) -> Tensor:
    """Frames whose patches are looked for: spread evenly over the sound, and the loudest."""
    last = max(0, len(level) - 1 - _PATCH // 2)
    places = torch.linspace(0, last, _QUERIES).round().long()
    return torch.unique(torch.cat([places, level.argmax()[None].clamp(max=last)]))


def _similar(waves: dict[int, Tensor]) -> dict[tuple[int, int], list[_Hit]]:
    """Pairs of files that have similar patches, each file's best partners only."""
    store, owner, frame, asked = [], [], [], []
    stride = max(1, math.ceil(sum(map(len, waves.values())) / _HOP / _FRAMES))
    for i, wave in waves.items():
        patch, level = _patches(wave)
        asked += [(i, int(k), patch[k]) for k in _queries(level)]
        loud = torch.nonzero(level > -45.0)[::stride, 0]
        store.append(patch[loud])
        owner.append(torch.full((len(loud),), i))
        frame.append(loud)
    hits: dict[tuple[int, int], list[_Hit]] = {}
    if len(waves) < 2:
        return hits
    everything, owners, frames = torch.cat(store), torch.cat(owner), torch.cat(frame)
    patches, own = torch.stack([patch for *_, patch in asked]), torch.tensor([i for i, *_ in asked])
    block = max(1, 10_000_000 // len(everything))
    blocks = nearest(patches, everything, own, owners, _PARTNERS, block)
    for rows, best, which in progress(blocks, "looking for copies", -(-len(asked) // block)):
        for (i, k, _), row, columns in zip(asked[rows], best.tolist(), which.tolist(), strict=True):
            for value, column in zip(row, columns, strict=True):
                if value >= _SIMILAR:
                    j, lag = int(owners[column]), (int(frames[column]) - k) * _HOP
                    hits.setdefault((min(i, j), max(i, j)), []).append(_Hit(value, lag if i < j else -lag))
    return _best(hits)


def _best(hits: dict[tuple[int, int], list[_Hit]]) -> dict[tuple[int, int], list[_Hit]]:
    """The pairs that are among the best partners of either file."""
    by_file: dict[int, list[tuple[float, tuple[int, int]]]] = {}
    for pair, own in hits.items():
        for i in pair:
            by_file.setdefault(i, []).append((max(hit.similar for hit in own), pair))
    kept = {pair for rows in by_file.values() for _, pair in sorted(rows, reverse=True)[:_PARTNERS]}
    return {pair: hits[pair] for pair in sorted(kept)}


def _apart(hits: list[_Hit], most: int = 2) -> list[_Hit]:
    """The best hits whose lags differ."""
    kept: list[_Hit] = []
    for hit in sorted(hits, key=lambda h: -h.similar):
        if len(kept) < most and all(abs(hit.lag - other.lag) > _REACH // 2 for other in kept):
            kept.append(hit)
    return kept


def _laid_over(a: Tensor, b: Tensor, lag: int) -> float:
    """How well the shorter, where it sounds, is a part of the longer; or, where that is near, the other way round."""
    if len(a) < len(b):
        a, b, lag = b, a, -lag
    first = _within(a, b, -lag)
    return first if first < 0.4 or first >= COPY else max(first, _within(b, a, lag))


def _within(whole: Tensor, part: Tensor, lag: int) -> float:
    """max_s |<y, x_s>| / (|y| |x_s m|): y the sounding blocks m of `part`, x_s what of `whole` lies under them.

    `part`'s sample i is looked for at sample i + lag of `whole`, give or take _REACH samples and, since rates and
    formats shift sounds by fractions of one, between the samples too.
    """
    blocks = functional.pad(part, (0, -len(part) % _BLOCK)).reshape(-1, _BLOCK).square().mean(1)
    mask = (blocks >= _LOUD * blocks.max()).float().repeat_interleave(_BLOCK)[: len(part)]
    low, high = max(0, -lag), min(len(part), len(whole) - lag)
    if high - low < 4 * _BLOCK:
        return 0.0
    sounding = part * mask
    y, m = sounding[low:high], mask[low:high]
    energy = y.square().sum()
    if float(energy) < _SHARE * float(sounding.square().sum()):
        return 0.0
    first, last = low + lag - _REACH, high + lag + _REACH
    x = functional.pad(whole[max(0, first) : last], (max(0, -first), max(0, last - len(whole))))
    size, lags = 1 << (len(x) + len(y) - 1).bit_length(), 2 * _REACH + 1
    under = torch.fft.irfft(torch.fft.rfft(x.square(), size) * torch.fft.rfft(m, size).conj(), size)[:lags]
    under = under.clamp(min=1e-3 * float(under.max()) + 1e-12)
    cross = torch.fft.rfft(x, size) * torch.fft.rfft(y, size).conj()
    rough = torch.fft.irfft(cross, size)[:lags].abs() / (energy * under).sqrt()
    if float(rough.max()) < 0.7 * COPY:
        return float(rough.max())
    fine = 4 * torch.fft.irfft(functional.pad(cross, (0, 3 * size // 2)), 4 * size)[: 4 * (lags - 1) + 1]
    under = functional.interpolate(under[None, None], size=len(fine), mode="linear", align_corners=True)[0, 0]
    return float((fine.abs() / (energy * under).sqrt()).max())
