"""Near copies among sound files: one recording twice, whatever its level, polarity, place, length, rate and format.

Two stages. Short patches of a coarse log-mel spectrogram, each relative to its own maximum, are compared between all
files: that is fast, and invariant to level and place. The waveforms of what is similar there are then correlated:
copies agree sample by sample, other recordings of the same thing do not.
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
from ....core.data.prepare.types import Pair
from ....core.evaluation.near_copies import best_partners, most_similar, ranked_pairs
from .. import dsp, io

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


class _Patches:
    """Patches of many files: unit vectors, the file of each and its frame."""

    def __init__(self):
        self.vectors: list[Tensor] = []
        self.owners: list[Tensor] = []
        self.frames: list[Tensor] = []

    def add(self, owner: int, vectors: Tensor, frames: Tensor) -> None:
        """Those of a file's patches that begin at the given frames."""
        self.vectors.append(vectors[frames])
        self.owners.append(torch.full((len(frames),), owner))
        self.frames.append(frames)

    def joined(self) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors (N, d), owners (N,), frames (N,)."""
        return torch.cat(self.vectors), torch.cat(self.owners), torch.cat(self.frames)


class Copies:
    """Finds pairs among traces; a trace is the sounding part of a file, mono at 8 kHz, as 16-bit numbers.

    Args:
        count: Files to come, between which the memory is shared: a trace holds 2 to 30 s.
    """

    def __init__(self, count: int = 1):
        self.most = int(min(30 * RATE, max(2 * RATE, _ROOM / 2 / max(1, count))))

    def trace(self, sound: io.Sound) -> np.ndarray | None:
        """What is compared of a sound; None where that is too short or silent."""
        mono = io.to_channels(sound.wave, 1)
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
        found, likely = {}, _similar(waves)
        for (a, b), hits in progress(likely.items(), "comparing copies", len(likely)):
            similarity = max(_waveform_correlation(waves[a], waves[b], hit.lag) for hit in _apart(hits))
            if similarity >= COPY:
                found[a, b] = similarity
        return ranked_pairs(found)


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
    if len(waves) < 2:
        return {}
    store, asked = _Patches(), _Patches()
    stride = max(1, math.ceil(sum(map(len, waves.values())) / _HOP / _FRAMES))
    for i, wave in waves.items():
        patch, level = _patches(wave)
        asked.add(i, patch, _queries(level))
        store.add(i, patch, torch.nonzero(level > -45.0)[::stride, 0])
    (queries, askers, starts), (keys, owners, frames) = asked.joined(), store.joined()
    hits: dict[tuple[int, int], list[_Hit]] = {}
    rows = max(1, 10_000_000 // len(keys))
    for block, values, which in most_similar(queries, keys, _PARTNERS, (askers, owners), rows, "looking for copies"):
        for r, column in torch.nonzero(values >= _SIMILAR).tolist():
            k = int(which[r, column])
            i, j = int(askers[block[r]]), int(owners[k])
            lag = (int(frames[k]) - int(starts[block[r]])) * _HOP
            hits.setdefault((min(i, j), max(i, j)), []).append(_Hit(float(values[r, column]), lag if i < j else -lag))
    kept = best_partners({pair: max(hit.similar for hit in own) for pair, own in hits.items()}, _PARTNERS)
    return {pair: hits[pair] for pair in kept}


def _apart(hits: list[_Hit], most: int = 2) -> list[_Hit]:
    """The best hits whose lags differ."""
    kept: list[_Hit] = []
    for hit in sorted(hits, key=lambda h: -h.similar):
        if len(kept) < most and all(abs(hit.lag - other.lag) > _REACH // 2 for other in kept):
            kept.append(hit)
    return kept


def _waveform_correlation(a: Tensor, b: Tensor, lag: int) -> float:
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
