"""How similar two sounds are, invariant to gain, polarity, shift and crop: finds near copies.

The loud part of a mel spectrogram, P = max(0, (S / max S)^(1/2) - 0.2), of the frames in which sound a is heard, is
correlated with that of sound b at every shift k; both less their mean over the overlap:

    similarity(a, b) = max_k sum_{m,t} A[m, t] B_k[m, t] / (|A| |B_k|)

so that a part of b is as similar as all of it, as long as it holds a fifth of the square of b's print. First with long
windows, for all pairs; then, for the nearest few, with short ones, each relative to its own maximum in the overlap.

1 for the same sound, about 0.5 to 0.7 for the nearest of unrelated ones, 0.95 for a word that one speaker says twice.
Below -28 dB of the loudest bin nothing counts, so that faint noise in the silence around a short sound does not hide a
copy; without the mean removed, any two noises would be similar. (Bursts of plain noise of one envelope still are: only
their length tells them apart.) A correlation of waveforms finds copies with their phase and misses those that went
through a log-mel codec, which keeps none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from ...core.evaluation.near_copies import Draw, NearestMatches, nearest_examples, planted_copies
from . import dsp

COPY = 0.9
"""Sounds that are more similar than this are near copies, unless the data's own sounds are as similar."""

_FLOOR = 0.2  # of the square root of the magnitude: -28 dB
_SHARE = 0.2  # of the square of b's print that must lie under a's
_ROOM = 12_000_000  # correlations held at a time: 48 MB, three times
_CANDIDATES, _REACH = 12, 3  # training sounds looked at closely; and shifts around the coarse one, in frames
_EDGE = (1, 4)  # frames at each end, coarse and fine, where a window sees past the end of what was cut out


def _spectra(sounds: Sequence[Tensor], rate: float, bands: int, window: float, overlap: int) -> Tensor:
    """Square roots of mel magnitudes, (N, bands, frames), of sounds (C, frames) of equal length; not scaled."""
    n_fft = 2 ** round(math.log2(window * rate))
    hop = n_fft // overlap
    wave = torch.stack([sound.float().mean(0) for sound in sounds])
    wave = functional.pad(wave, (0, -wave.shape[-1] % hop))
    return (dsp.mel_filters(n_fft, rate, bands) @ dsp.stft(wave, n_fft, hop).abs()).sqrt()


def _coarse(sounds: Sequence[Tensor], rate: float) -> Tensor:
    """What is compared of all pairs, (N, 32, frames)."""
    parts = [sounds[i : i + 64] for i in range(0, len(sounds), 64)]
    return torch.cat([_loud(_spectra(part, rate, 32, 0.046, 4)) for part in parts])


def _fine(sound: Tensor, rate: float) -> Tensor:
    """What is compared of the nearest few, (40, frames): windows of about 30 ms; not scaled."""
    return _spectra([sound], rate, 40, 0.03, 8)[0]


def _loud(spectra: Tensor) -> Tensor:
    """max(0, S / max S - 0.2), each relative to its own largest; silence gives zeros."""
    return (spectra / spectra.amax((1, 2), keepdim=True).clamp(min=math.sqrt(dsp.SILENCE)) - _FLOOR).clamp(min=0)


def _heard(prints: Tensor) -> Tensor:
    """1 in the frames in which a sound is heard, (N, 1, frames)."""
    return (prints.amax(1, keepdim=True) > 0.05 * prints.amax((1, 2), keepdim=True)).float()


def _inside(heard: Tensor, edge: int) -> Tensor:
    """(N, 1, frames) without `edge` frames at either end of what is heard, where enough is left."""
    inside = 1 - functional.max_pool1d(functional.pad(1 - heard, (edge, edge), value=1.0), 2 * edge + 1, 1)
    return torch.where(inside.sum(2, keepdim=True) >= 2 * edge + 4, inside, heard)


def _overlaid(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The coarse similarity (N, M) of prints a (N, bands, frames) to b (M, bands, frames), and the shift in frames."""
    size = a.shape[-1] + b.shape[-1]  # zeros between the ends: shifts do not wrap round
    there = torch.fft.rfft(b, size).permute(2, 1, 0)  # (F, bands, M)
    sums = torch.fft.rfft(torch.stack([b.sum(1), b.square().sum(1)]), size).permute(0, 2, 1)  # (2, F, M)
    power = b.square().sum((1, 2))
    values, shifts = [], []
    for part in a.split(max(1, _ROOM // (len(b) * size))):
        heard = _inside(_heard(part), _EDGE[0])
        count = (heard.sum((1, 2)) * a.shape[1]).clamp(min=1)[:, None, None]
        centred = (part - (part * heard).sum((1, 2), keepdim=True) / count) * heard
        cross = torch.fft.rfft(centred, size).conj().permute(2, 0, 1) @ there  # (F, n, M)
        under = torch.fft.rfft(heard[:, 0], size).conj().T[:, :, None]  # (F, n, 1)
        first, second = (torch.fft.irfft(under * s[:, None], size, dim=0).permute(1, 2, 0) for s in sums)
        own = centred.square().sum((1, 2)).sqrt()[:, None, None]
        spread = (second - first.square() / count).clamp(min=0).sqrt()
        found = torch.fft.irfft(cross, size, dim=0).permute(1, 2, 0)
        found = found / (own * torch.maximum(spread, 0.05 * own)).clamp(min=dsp.SILENCE)
        best, shift = torch.where(second > _SHARE * power[:, None], found, torch.zeros(())).max(2)
        values.append(best)
        shifts.append(torch.where(shift > b.shape[-1], shift - size, shift))
    return torch.cat(values), torch.cat(shifts)


def _closely(a: Tensor, b: Tensor, shift: int) -> float:
    """The fine similarity of spectra a and b (bands, frames), at shifts within _REACH of the one given."""
    places = torch.nonzero(_heard(_loud(a[None]))[0, 0])
    if not len(places):
        return 0.0
    low, high = int(places[0]), int(places[-1]) + 1
    if high - low >= 4 * _EDGE[1] + 8:
        low, high = low + _EDGE[1], high - _EDGE[1]
    x = _loud(a[None, :, low:high].double())[0]
    x = _centred(x, (0, 1))
    y = _shifted_windows(b, low + shift - _REACH, high - low)
    y = (y / y.amax((0, 2), keepdim=True).clamp(min=math.sqrt(dsp.SILENCE)) - _FLOOR).clamp(min=0)
    y = _centred(y, (0, 2))
    found = torch.einsum("mt,mkt->k", x, y) / (x.norm() * y.square().sum((0, 2)).sqrt()).clamp(min=dsp.SILENCE)
    return min(1.0, float(found.max()))  # float64 leaves 1e-15 to spare


def _centred(x: Tensor, axes: tuple[int, int]) -> Tensor:
    return x - x.mean(axes, keepdim=True)


def _shifted_windows(b: Tensor, start: int, frames: int) -> Tensor:
    """(bands, frames of b) -> (bands, 2 _REACH + 1, frames): windows at successive shifts, the first at `start`."""
    width = frames + 2 * _REACH
    padded = functional.pad(b, (max(0, -start), max(0, start + width - b.shape[1])))
    return padded[:, max(0, start) : max(0, start) + width].double().unfold(1, frames, 1)


def nearest(sounds: Sequence[Tensor], training: Sequence[Tensor], rate: float) -> NearestMatches:
    """For each sound its largest similarity to a training sound, and that one's index.

    Sounds are (C, frames) at `rate` Hz, of one length within a set.
    """
    coarse, shift = _overlaid(_coarse(sounds, rate), _coarse(training, rate))
    values, candidates = coarse.topk(min(_CANDIDATES, len(training)), dim=1)
    shift = shift.gather(1, candidates)
    fine = lru_cache(maxsize=512)(lambda i: _fine(training[i], rate))
    hops = (2 ** round(math.log2(s * rate)) // overlap for s, overlap in ((0.046, 4), (0.03, 8)))
    frames = next(hops) / next(hops)  # fine frames in a coarse one

    def compare(row: int, which: Tensor) -> Tensor:
        own = _fine(sounds[row], rate)
        looked_at = zip(values[row].tolist(), which.tolist(), shift[row].tolist(), strict=True)
        return torch.tensor([_closely(own, fine(i), round(k * frames)) if v > 0 else 0.0 for v, i, k in looked_at])

    return nearest_examples(candidates, compare)


def planted(sounds: Sequence[Tensor], rate: float, kind: str = "shift", seed: int = 0) -> list[Tensor]:
    """Copies that test the search, with noise at -40 dB of the peak, as long as the sounds themselves.

    Args:
        sounds: (C, frames) each
        rate: in Hz
        kind: gain: -20 to 0 dB, either polarity; shift: also -30 to 140 ms; crop: also half to nine tenths of the part
            that sounds, from anywhere in it, with fades of 5 ms
        seed: of the random numbers
    """

    def alter(sound: Tensor, kind: str, draw: Draw, rng: torch.Generator) -> Tensor:
        copy = _cropped(sound, rate, draw) if kind == "crop" else sound
        if kind != "gain":
            copy = _moved(copy, int(draw(-0.03 if kind == "shift" else 0.0, 0.14) * rate))
        noise = torch.randn(copy.shape, generator=rng) * copy.abs().max() * dsp.amplitude(-40)
        sign = 1.0 if draw(0, 1) < 0.5 else -1.0
        return sign * dsp.amplitude(draw(-20, 0)) * (copy + noise)

    return planted_copies(sounds, kind, alter, seed)


def _cropped(sound: Tensor, rate: float, draw: Draw) -> Tensor:
    """A part of what sounds, with fades, then silence up to the length of the sound."""
    start, end = dsp.bounds(sound, -40.0)
    size = max(1, round((end - start) * draw(0.5, 0.9)))
    at = start + round(draw(0, end - start - size))
    fade = torch.linspace(0, 1, max(1, min(size // 2, round(0.005 * rate))))
    piece = sound[:, at : at + size].clone()
    piece[:, : len(fade)] *= fade
    piece[:, size - len(fade) :] *= fade.flip(0)
    return functional.pad(piece, (0, sound.shape[-1] - size))


def _moved(sound: Tensor, shift: int) -> Tensor:
    """Later by `shift` samples, as long as before."""
    padded = functional.pad(sound, (max(shift, 0), max(-shift, 0)))
    return padded[..., : sound.shape[-1]] if shift >= 0 else padded[..., -sound.shape[-1] :]
