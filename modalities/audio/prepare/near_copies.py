"""Near copies among sound files: the same recording, up to level, polarity, position, length, rate and format.

Two stages. Short patches of a coarse log-mel spectrogram, each relative to its own maximum, are compared between all
files, which is fast and invariant to level and position. The waveforms of similar files are then correlated: copies
agree sample by sample, other recordings of the same source do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ....core.data.prepare.types import NearCopyPair
from ....core.evaluation.near_copies import find_nearest_vectors, nearest_pairs, ranked_pairs
from ....core.util.progress import with_progress
from .. import dsp, io

COPY = 0.95
"""Minimum correlation of the waveforms of two sounds that count as one recording."""

RATE = 8000
_N_FFT, _HOP, _BANDS, _PATCH = 256, 64, 12, 12  # a patch lasts 96 ms
_QUERIES = 6  # patches of a file that are searched in other files
_SIMILAR = 0.955  # minimum cosine of two patches for a comparison of the waveforms
_RANGE = 40.0  # dB; dynamic range of a patch
_PARTNERS = 5  # maximum number of files that one file is compared with
_BLOCK, _LOUD = 40, 0.01  # compared are blocks of 5 ms within 20 dB of the loudest
_REACH = 100  # samples around the lag of the patches
_SHARE = 0.4  # minimum share of the audible energy in the overlap
_TRACE_MEMORY = 256_000_000  # bytes
_FRAMES = 400_000  # maximum number of patches in memory; with more, only every n-th is used


@dataclass(frozen=True)
class _Hit:
    """Similar patches of two files: sample i of a corresponds to sample i + lag of b."""

    similar: float
    lag: int


class _Patches:
    """Patches of many files: unit vectors, with the file and the frame of each."""

    def __init__(self):
        self.vectors: list[Tensor] = []
        self.owners: list[Tensor] = []
        self.frames: list[Tensor] = []

    def add(self, owner: int, vectors: Tensor, frames: Tensor) -> None:
        """Add the patches of a file that begin at the given frames."""
        self.vectors.append(vectors[frames])
        self.owners.append(torch.full((len(frames),), owner))
        self.frames.append(frames)

    def joined(self) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors (N, d), owners (N,), frames (N,)."""
        return torch.cat(self.vectors), torch.cat(self.owners), torch.cat(self.frames)


class NearCopyFinder:
    """Finds near copies by fingerprints: the audible part of each file, mono at 8 kHz, as 16-bit integers.

    Args:
        count: Number of files, which share the memory: a fingerprint has 2 to 30 s.
    """

    def __init__(self, count: int = 1):
        self.max_samples = int(min(30 * RATE, max(2 * RATE, _TRACE_MEMORY / 2 / max(1, count))))

    def fingerprint(self, sound: io.DecodedSound) -> np.ndarray | None:
        """The fingerprint of a sound; None if it is too short or silent."""
        mono = io.mix_to_channels(sound.wave, 1)
        start = dsp.find_onset(mono, sound.rate)
        mono = mono[:, start : start + math.ceil((self.max_samples / RATE + 1) * sound.rate)]
        wave = dsp.trim_silence(_to_8k(mono - dsp.dc_offset(mono), round(sound.rate)), RATE, floor=-30.0, window=0.005)
        wave = wave[0, : self.max_samples]
        if len(wave) < _BLOCK or float(wave.abs().max()) < dsp.SILENCE:
            return None
        return (wave / wave.abs().max() * 32767).round().to(torch.int16).numpy()

    def near_copy_pairs(self, fingerprints: Sequence[np.ndarray | None]) -> list[NearCopyPair]:
        """All pairs whose waveforms have a correlation of COPY or more, best first."""
        waves = {i: torch.from_numpy(t).float() / 32767 for i, t in enumerate(fingerprints) if t is not None}
        found, likely = {}, _similar(waves)
        for (a, b), hits in with_progress(likely.items(), "comparing sounds", "pair", len(likely)):
            similarity = max(_waveform_correlation(waves[a], waves[b], hit.lag) for hit in _distinct_lags(hits))
            if similarity >= COPY:
                found[a, b] = similarity
        return ranked_pairs(found)


def _to_8k(x: Tensor, rate: int) -> Tensor:
    """(..., frames) -> 8 kHz, by truncating or padding the spectrum: fast, and exact if both ends are quiet."""
    common = math.gcd(rate, RATE)
    n = -(-x.shape[-1] // (rate // common)) * (rate // common)
    m = n * RATE // rate
    spectrum = torch.fft.rfft(functional.pad(x, (0, n - x.shape[-1])))[..., : min(n, m) // 2 + 1]
    return torch.fft.irfft(spectrum, m) * (m / n)


def _patches(wave: Tensor) -> tuple[Tensor, Tensor]:
    """(frames, d) unit vectors, one patch from each frame, and each frame's level in dB relative to the loudest."""
    wave = functional.pad(wave, (0, -len(wave) % _HOP))
    filters = dsp.mel_filters(_N_FFT, RATE, 2 * _BANDS).reshape(_BANDS, 2, -1).sum(1)
    bands = (filters @ dsp.stft(wave, _N_FFT, _HOP).abs()).T
    level = dsp.amplitude_to_db(bands / bands.max().clamp(min=dsp.SILENCE), floor=-60.0)
    patch = functional.pad(level, (0, 0, 0, _PATCH), value=-60.0).unfold(0, _PATCH, 1)[: len(level)].flatten(1)
    patch = (patch - patch.amax(1, keepdim=True) + _RANGE).clamp(min=0)
    patch = patch - patch.mean(1, keepdim=True)
    return patch / patch.norm(dim=1, keepdim=True).clamp(min=1e-6), level.amax(1)


def _queries(level: Tensor) -> Tensor:
    """Frames whose patches are searched: evenly spaced over the sound, and the loudest one."""
    last = max(0, len(level) - 1 - _PATCH // 2)
    places = torch.linspace(0, last, _QUERIES).round().long()
    return torch.unique(torch.cat([places, level.argmax()[None].clamp(max=last)]))


def _similar(waves: dict[int, Tensor]) -> dict[tuple[int, int], list[_Hit]]:
    """Pairs of files that have similar patches, only the best partners of each file."""
    if len(waves) < 2:
        return {}
    all_patches, query_patches = _Patches(), _Patches()
    stride = max(1, math.ceil(sum(map(len, waves.values())) / _HOP / _FRAMES))
    for i, wave in waves.items():
        patch, level = _patches(wave)
        query_patches.add(i, patch, _queries(level))
        all_patches.add(i, patch, torch.nonzero(level > -45.0)[::stride, 0])
    (queries, query_owners, starts), (keys, owners, frames) = query_patches.joined(), all_patches.joined()
    hits: dict[tuple[int, int], list[_Hit]] = {}
    rows = max(1, 10_000_000 // len(keys))
    for block, values, which in find_nearest_vectors(
        queries, keys, _PARTNERS, (query_owners, owners), rows, "searching for copies"
    ):
        for r, column in torch.nonzero(values >= _SIMILAR).tolist():
            k = int(which[r, column])
            i, j = int(query_owners[block[r]]), int(owners[k])
            lag = (int(frames[k]) - int(starts[block[r]])) * _HOP
            hits.setdefault((min(i, j), max(i, j)), []).append(_Hit(float(values[r, column]), lag if i < j else -lag))
    chosen = nearest_pairs({pair: max(hit.similar for hit in found) for pair, found in hits.items()}, _PARTNERS)
    return {pair: hits[pair] for pair in chosen}


def _distinct_lags(hits: list[_Hit], count: int = 2) -> list[_Hit]:
    """The best hits with different lags."""
    chosen: list[_Hit] = []
    for hit in sorted(hits, key=lambda h: -h.similar):
        if len(chosen) < count and all(abs(hit.lag - other.lag) > _REACH // 2 for other in chosen):
            chosen.append(hit)
    return chosen


def _waveform_correlation(a: Tensor, b: Tensor, lag: int) -> float:
    """Correlation of the audible part of the shorter sound with the longer one, or if not low, also the reverse."""
    if len(a) < len(b):
        a, b, lag = b, a, -lag
    first = _within(a, b, -lag)
    return first if first < 0.4 or first >= COPY else max(first, _within(b, a, lag))


def _within(whole: Tensor, part: Tensor, lag: int) -> float:
    """max_s |<y, x_s>| / (|y| |x_s m|): y the audible blocks m of `part`, x_s the aligned part of `whole`.

    Sample i of `part` is searched at sample i + lag of `whole`, within _REACH samples and, since rates and formats
    shift sounds by fractions of a sample, also between the samples.
    """
    blocks = functional.pad(part, (0, -len(part) % _BLOCK)).reshape(-1, _BLOCK).square().mean(1)
    mask = (blocks >= _LOUD * blocks.max()).float().repeat_interleave(_BLOCK)[: len(part)]
    low, high = max(0, -lag), min(len(part), len(whole) - lag)
    if high - low < 4 * _BLOCK:
        return 0.0
    audible = part * mask
    y, m = audible[low:high], mask[low:high]
    energy = y.square().sum()
    if float(energy) < _SHARE * float(audible.square().sum()):
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
