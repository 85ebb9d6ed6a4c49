"""Similarity of two sounds, invariant to gain, polarity, shift and crop, to find near copies.

The loud part of a mel spectrogram, P = max(0, (S / max S)^(1/2) - 0.2), of the frames in which sound a is audible, is
correlated with that of sound b at every shift k, both minus their mean over the overlap:

    similarity(a, b) = max_k sum_{m,t} A[m, t] B_k[m, t] / (|A| |B_k|)

so that a part of b is as similar as all of b, if it contains a fifth of the squared norm of b's spectrogram. All pairs
are compared with long windows; the nearest few then with short windows, each relative to its maximum in the overlap.

The similarity is 1 for the same sound, about 0.5 to 0.7 for the nearest of unrelated sounds, and 0.95 for a word spoken
twice by one speaker. Levels below -28 dB of the loudest bin are ignored, so that faint noise in the silence around a
short sound does not hide a copy. Without the mean removed, any two noises would be similar. (Noise bursts with the same
envelope still are; they differ only in length.) A correlation of waveforms would miss copies with a different phase,
such as those after a log-mel codec.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from ...core.evaluation.near_copies import Draw, NearestMatches, make_altered_copies, nearest_examples
from . import dsp

COPY = 0.9
"""Sounds with a larger similarity are near copies, unless real sounds of the data are as similar."""

_FLOOR = 0.2  # in the square root of the magnitude: -28 dB
_SHARE = 0.2  # minimum share of the squared norm of b in the overlap with a
_MAX_CORRELATIONS = 12_000_000  # in memory at once: 48 MB, three times
_CANDIDATES, _REACH = 12, 3  # training sounds for the fine comparison; shifts around the coarse one, in frames
_EDGE = (1, 4)  # frames at each end, coarse and fine, where a window extends beyond a cropped part


def _spectra(sounds: Sequence[Tensor], rate: float, bands: int, window: float, overlap: int) -> Tensor:
    """Square roots of mel magnitudes, (N, bands, frames), of sounds (C, frames) of equal length; not scaled."""
    n_fft = 2 ** round(math.log2(window * rate))
    hop = n_fft // overlap
    wave = torch.stack([sound.float().mean(0) for sound in sounds])
    wave = functional.pad(wave, (0, -wave.shape[-1] % hop))
    return (dsp.mel_filters(n_fft, rate, bands) @ dsp.stft(wave, n_fft, hop).abs()).sqrt()


def _coarse(sounds: Sequence[Tensor], rate: float) -> Tensor:
    """Features of the coarse comparison, (N, 32, frames)."""
    parts = [sounds[i : i + 64] for i in range(0, len(sounds), 64)]
    return torch.cat([_loud(_spectra(part, rate, 32, 0.046, 4)) for part in parts])


def _fine(sound: Tensor, rate: float) -> Tensor:
    """Features of the fine comparison, (40, frames): windows of about 30 ms; not scaled."""
    return _spectra([sound], rate, 40, 0.03, 8)[0]


def _loud(spectra: Tensor) -> Tensor:
    """max(0, S / max S - 0.2), each relative to its own maximum; zeros for silence."""
    return (spectra / spectra.amax((1, 2), keepdim=True).clamp(min=math.sqrt(dsp.SILENCE)) - _FLOOR).clamp(min=0)


def _audible(features: Tensor) -> Tensor:
    """1 in the frames in which a sound is audible, (N, 1, frames)."""
    return (features.amax(1, keepdim=True) > 0.05 * features.amax((1, 2), keepdim=True)).float()


def _inside(audible: Tensor, edge: int) -> Tensor:
    """(N, 1, frames): the audible frames without `edge` frames at either end, if enough frames remain."""
    inside = 1 - functional.max_pool1d(functional.pad(1 - audible, (edge, edge), value=1.0), 2 * edge + 1, 1)
    return torch.where(inside.sum(2, keepdim=True) >= 2 * edge + 4, inside, audible)


def _coarse_similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Coarse similarity (N, M) of features a (N, bands, frames) to b (M, bands, frames), and the shift in frames."""
    size = a.shape[-1] + b.shape[-1]  # zero padding, so that shifts do not wrap
    spectrum_b = torch.fft.rfft(b, size).permute(2, 1, 0)  # (F, bands, M)
    sums = torch.fft.rfft(torch.stack([b.sum(1), b.square().sum(1)]), size).permute(0, 2, 1)  # (2, F, M)
    power = b.square().sum((1, 2))
    values, shifts = [], []
    for part in a.split(max(1, _MAX_CORRELATIONS // (len(b) * size))):
        audible = _inside(_audible(part), _EDGE[0])
        count = (audible.sum((1, 2)) * a.shape[1]).clamp(min=1)[:, None, None]
        centred = (part - (part * audible).sum((1, 2), keepdim=True) / count) * audible
        cross = torch.fft.rfft(centred, size).conj().permute(2, 0, 1) @ spectrum_b  # (F, n, M)
        under = torch.fft.rfft(audible[:, 0], size).conj().T[:, :, None]  # (F, n, 1)
        first, second = (torch.fft.irfft(under * s[:, None], size, dim=0).permute(1, 2, 0) for s in sums)
        norm = centred.square().sum((1, 2)).sqrt()[:, None, None]
        spread = (second - first.square() / count).clamp(min=0).sqrt()
        found = torch.fft.irfft(cross, size, dim=0).permute(1, 2, 0)
        found = found / (norm * torch.maximum(spread, 0.05 * norm)).clamp(min=dsp.SILENCE)
        best, shift = torch.where(second > _SHARE * power[:, None], found, torch.zeros(())).max(2)
        values.append(best)
        shifts.append(torch.where(shift > b.shape[-1], shift - size, shift))
    return torch.cat(values), torch.cat(shifts)


def _fine_similarity(a: Tensor, others: Sequence[Tensor], shifts: Sequence[int]) -> Tensor:
    """Fine similarity (K,) of spectrum a to K others, (bands, frames) each, at shifts within _REACH of theirs."""
    places = torch.nonzero(_audible(_loud(a[None]))[0, 0])
    if not len(places):
        return torch.zeros(len(others))
    low, high = int(places[0]), int(places[-1]) + 1
    if high - low >= 4 * _EDGE[1] + 8:
        low, high = low + _EDGE[1], high - _EDGE[1]
    x = _loud(a[None, :, low:high].double())[0]
    x = _centred(x, (0, 1))
    found, together = [], max(1, _MAX_CORRELATIONS // (x.numel() * (2 * _REACH + 1)))
    for i in range(0, len(others), together):
        pairs = zip(others[i : i + together], shifts[i : i + together], strict=True)
        y = torch.stack([_shifted_windows(b, low + shift - _REACH, high - low) for b, shift in pairs])
        y = (y / y.amax((1, 3), keepdim=True).clamp(min=math.sqrt(dsp.SILENCE)) - _FLOOR).clamp(min=0)
        y = _centred(y, (1, 3))
        norms = x.norm() * y.square().sum((1, 3)).sqrt()
        found.append((torch.einsum("mt,nmkt->nk", x, y) / norms.clamp(min=dsp.SILENCE)).amax(1))
    return torch.cat(found).clamp(max=1.0).float()  # rounding can exceed 1 by 1e-15


def _centred(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x - x.mean(axes, keepdim=True)


def _shifted_windows(b: Tensor, start: int, frames: int) -> Tensor:
    """(bands, frames of b) -> (bands, 2 _REACH + 1, frames): windows at successive shifts, the first at `start`."""
    width = frames + 2 * _REACH
    padded = functional.pad(b, (max(0, -start), max(0, start + width - b.shape[1])))
    return padded[:, max(0, start) : max(0, start) + width].double().unfold(1, frames, 1)


def nearest_sounds(sounds: Sequence[Tensor], training: Sequence[Tensor], rate: float) -> NearestMatches:
    """The nearest training sound of each sound, and their similarity.

    Sounds are (C, frames) at `rate` Hz, all of one length within a set.
    """
    coarse, shift = _coarse_similarity(_coarse(sounds, rate), _coarse(training, rate))
    values, candidates = coarse.topk(min(_CANDIDATES, len(training)), dim=1)
    shift = shift.gather(1, candidates)
    fine = lru_cache(maxsize=512)(lambda i: _fine(training[i], rate))
    hops = (2 ** round(math.log2(s * rate)) // overlap for s, overlap in ((0.046, 4), (0.03, 8)))
    frames = next(hops) / next(hops)  # fine frames in a coarse one

    def compare(row: int, which: Tensor) -> Tensor:
        alike = torch.nonzero(values[row] > 0)[:, 0]
        found = torch.zeros(len(which))
        if len(alike):
            shifts = [round(k * frames) for k in shift[row, alike].tolist()]
            others = [fine(i) for i in which[alike].tolist()]
            found[alike] = _fine_similarity(_fine(sounds[row], rate), others, shifts)
        return found

    return nearest_examples(candidates, compare)


def make_altered_sounds(sounds: Sequence[Tensor], rate: float, kind: str = "shift", seed: int = 0) -> list[Tensor]:
    """Altered copies, to test the search, of unchanged length and with noise at -40 dB of the peak.

    Args:
        sounds: (C, frames) each.
        rate: Hz.
        kind: `gain`: -20 to 0 dB, random polarity; `shift`: also shifted by -30 to 140 ms; `crop`: also cropped to a
            random part of 50 to 90 % of the audible length, with fades of 5 ms.
        seed: Seed of the random numbers.
    """

    def alter(sound: Tensor, kind: str, draw: Draw, rng: torch.Generator) -> Tensor:
        copy = _cropped(sound, rate, draw) if kind == "crop" else sound
        if kind != "gain":
            copy = _shifted(copy, int(draw(-0.03 if kind == "shift" else 0.0, 0.14) * rate))
        noise = torch.randn(copy.shape, generator=rng) * copy.abs().max() * dsp.db_to_amplitude(-40)
        sign = 1.0 if draw(0, 1) < 0.5 else -1.0
        return sign * dsp.db_to_amplitude(draw(-20, 0)) * (copy + noise)

    return make_altered_copies(sounds, kind, alter, seed)


def _cropped(sound: Tensor, rate: float, draw: Draw) -> Tensor:
    """A random part of the audible sound with fades, padded with silence to the length of the sound."""
    start, end = dsp.audible_bounds(sound, -40.0)
    size = max(1, round((end - start) * draw(0.5, 0.9)))
    at = start + round(draw(0, end - start - size))
    fade = torch.linspace(0, 1, max(1, min(size // 2, round(0.005 * rate))))
    piece = sound[:, at : at + size].clone()
    piece[:, : len(fade)] *= fade
    piece[:, size - len(fade) :] *= fade.flip(0)
    return functional.pad(piece, (0, sound.shape[-1] - size))


def _shifted(sound: Tensor, shift: int) -> Tensor:
    """Delayed by `shift` samples, of unchanged length."""
    padded = functional.pad(sound, (max(shift, 0), max(-shift, 0)))
    return padded[..., : sound.shape[-1]] if shift >= 0 else padded[..., -sound.shape[-1] :]
