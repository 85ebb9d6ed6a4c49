"""The phase of a spectrum from its magnitudes, by integrating the derivatives that the magnitudes determine."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from . import dsp

_HANN_GAMMA = 0.25645  # gamma / n_fft^2 of the Gaussian window exp(-pi t^2 / gamma) that is closest to a Hann window
_EQUAL = 1e-3  # relative difference of magnitudes that count as equal
_QUIET = 1e-5  # of the largest magnitude of a sound: -100 dB; derivatives of the logarithm are limited below it


@torch.no_grad()
def phase_from_magnitude(
    magnitude: Tensor, n_fft: int, hop: int, loop: bool = False, known: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """An estimate of the phase of an STFT, (..., bins, frames) -> (..., bins, frames) in radians.

    It is only known up to a constant, which is chosen by the first frame, unless there are known frames.

    With a Gaussian window the derivatives of the phase follow from the magnitude (Prusa, Balazs and Sondergaard 2017,
    "A noniterative method for reconstruction of phase from STFT magnitude", eq. 19 and 20), for bin k and frame n:

        d phase / dn = 2 pi hop k / n_fft + hop n_fft / gamma  d log|S| / dk
        d phase / dk = -pi - gamma / (hop n_fft)  d log|S| / dn

    (-pi since a frame's phase refers to its first sample, and its window is centred.) They are integrated along time at
    the local maxima of a frame, and from each maximum along frequency to the bins around it. That is one operation a
    frame for all sounds and bins, where the source follows single coefficients in the order of their magnitude. Bins
    are grouped by the minima between the maxima, as in Beauregard et al. 2015, "Single pass spectrogram inversion".

    Args:
        magnitude: (..., bins, frames), of `stft`.
        n_fft: Samples of a window.
        hop: Samples between windows.
        loop: Whether the last frame is followed by the first. The phase that is left over after one turn, at most half
            a cycle, is spread evenly over the frames, unless there are known frames.
        known: Phases (..., bins, frames), and a mask (..., frames) of the frames where they are known. The phases of
            the other frames continue those of the nearest known one, forwards or backwards in time.
    """
    given = magnitude.cpu() if magnitude.device.type == "mps" else magnitude  # MPS has no float64
    size = given.flatten(0, -3) if given.ndim > 2 else given[None]
    log = torch.log(size + _QUIET * size.amax((1, 2), keepdim=True) + dsp.SILENCE)
    bins, count = torch.arange(size.shape[1], device=size.device)[:, None], size.shape[2]
    gamma = _HANN_GAMMA * n_fft**2
    along_time = 2 * math.pi * hop / n_fft * bins + hop * n_fft / gamma * _derivative(log, 1)
    along_bins = -math.pi - gamma / (hop * n_fft) * _derivative(log, 2, loop)
    slope = _trapezoids(along_bins.double(), 1).cumsum(1)
    change, peak = _trapezoids(along_time.double(), 2, loop), _nearest_maximum(size)
    if known is not None:
        given, mask = known[0].to(slope).reshape(size.shape), known[1].to(size.device)
        mask = mask.expand(*magnitude.shape[:-2], count).reshape(len(size), 1, count)
        phase = _continued(change, slope, peak, given, mask, loop)
        return phase.remainder(2 * math.pi).to(magnitude).reshape(magnitude.shape)
    frames = _integrated(change, slope, peak, count + loop)
    phase = frames[..., :count]
    if loop:
        left_over = (frames[..., count] - frames[..., 0]).gather(1, peak[..., 0])
        nearest = 2 * math.pi * torch.round(left_over / (2 * math.pi))
        phase = phase - (left_over - nearest)[..., None] * torch.arange(count, device=size.device) / count
    return phase.remainder(2 * math.pi).to(magnitude).reshape(magnitude.shape)


def _integrated(
    change: Tensor, slope: Tensor, peak: Tensor, length: int, known: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Phases of `length` frames, which are repeated if there are fewer: (B, bins, length).

    Args:
        change: Change of the phase of each bin from the frame before, (B, bins, frames).
        slope: Phase of each bin relative to the first bin, in each frame.
        peak: Bin at which each bin follows the time.
        length: Number of frames.
        known: Phases, and a mask (B, 1, frames) of where they are used instead.
    """
    count = change.shape[-1]
    step = (change - slope).gather(1, peak) + slope
    frames: list[Tensor] = []
    for n in range(length):
        i = n % count
        here = frames[-1].gather(1, peak[..., i]) + step[..., i] if frames else slope[..., i]
        frames.append(here if known is None else torch.where(known[1][..., i], known[0][..., i], here))
    return torch.stack(frames, -1)


def _continued(change: Tensor, slope: Tensor, peak: Tensor, phase: Tensor, known: Tensor, loop: bool) -> Tensor:
    """Phases that are known in some frames (mask (B, 1, frames)) and continued from the nearest of these frames."""
    count = known.shape[-1]
    length = 2 * count if loop else count  # in a loop what precedes the first frame is found in the first turn

    def forwards(x: Tensor) -> Tensor:
        return x[..., -count:]

    def backwards(x: Tensor) -> Tensor:
        return x[..., -count:].flip(-1)

    reverse = -change.roll(-1, -1).flip(-1), slope.flip(-1), peak.flip(-1)
    after = forwards(_integrated(change, slope, peak, length, (phase, known)))
    before = backwards(_integrated(*reverse, length, (phase.flip(-1), known.flip(-1))))
    repeats = length // count
    since = forwards(_since_true(known.repeat(1, 1, repeats)))
    until = backwards(_since_true(known.flip(-1).repeat(1, 1, repeats)))
    return torch.where(since <= until, after, before)


def _since_true(mask: Tensor) -> Tensor:
    """Number of frames since the mask was last true, along the last axis; infinite before the first time."""
    n = torch.arange(mask.shape[-1], device=mask.device, dtype=torch.float32)
    return n - torch.where(mask, n, -math.inf).cummax(-1).values


def _derivative(x: Tensor, axis: int, loop: bool = False) -> Tensor:
    """Central differences along an axis of (B, bins, frames); at the ends half of the one-sided ones, unless a loop."""
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
    padded = torch.cat([last, x, first] if loop else [first, x, last], axis)
    return (padded.narrow(axis, 2, x.shape[axis]) - padded.narrow(axis, 0, x.shape[axis])) / 2


def _trapezoids(x: Tensor, axis: int, loop: bool = False) -> Tensor:
    """Integrals from the entry before to each entry along an axis; for the first one 0, or of a loop from the last."""
    last = x.narrow(axis, x.shape[axis] - 1, 1) if loop else -x.narrow(axis, 0, 1)
    return (x + torch.cat([last, x.narrow(axis, 0, x.shape[axis] - 1)], axis)) / 2


def _nearest_maximum(x: Tensor) -> Tensor:
    """Index of the local maximum that each bin of (B, bins, frames) belongs to; minima separate the maxima.

    Values that differ by rounding are equal: mel inversion makes such plateaus, and their order would depend on the
    batch.
    """
    left, right = functional.pad(x, (0, 0, 1, 0))[:, :-1], functional.pad(x, (0, 0, 0, 1))[:, 1:]
    minimum = (x < left * (1 - _EQUAL)) & (x <= right * (1 + _EQUAL))
    minimum[:, 0] = False
    group = minimum.long().cumsum(1)
    largest = torch.zeros_like(x).scatter_reduce(1, group, x, "amax")
    bins = torch.arange(x.shape[1], device=x.device)[:, None].expand(x.shape)
    found = torch.where(x >= largest.gather(1, group) * (1 - _EQUAL), bins, -1)
    return torch.zeros_like(group).scatter_reduce(1, group, found, "amax").gather(1, group)
