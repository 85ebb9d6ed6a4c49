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
def phase_from_magnitude(magnitude: Tensor, n_fft: int, hop: int, loop: bool = False) -> Tensor:
    """An estimate of the phase of an STFT, (..., bins, frames) -> (..., bins, frames) in radians.

    It is only known up to a constant, which is chosen by the first frame.

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
            a cycle, is spread evenly over the frames.
    """
    given = magnitude.cpu() if magnitude.device.type == "mps" else magnitude  # MPS has no float64
    size = given.flatten(0, -3) if given.ndim > 2 else given[None]
    log = torch.log(size + _QUIET * size.amax((1, 2), keepdim=True) + dsp.SILENCE)
    bins, count = torch.arange(size.shape[1], device=size.device)[:, None], size.shape[2]
    gamma = _HANN_GAMMA * n_fft**2
    along_time = 2 * math.pi * hop / n_fft * bins + hop * n_fft / gamma * _derivative(log, 1)
    along_bins = -math.pi - gamma / (hop * n_fft) * _derivative(log, 2, loop)
    slope = _trapezoids(along_bins.double(), 1).cumsum(1)
    peak = _nearest_maximum(size)
    step = (_trapezoids(along_time.double(), 2, loop) - slope).gather(1, peak) + slope
    frames = [slope[..., 0]]
    for n in range(1, count + loop):
        frames.append(frames[-1].gather(1, peak[..., n % count]) + step[..., n % count])
    phase = torch.stack(frames[:count], -1)
    if loop:
        left_over = (frames[count] - frames[0]).gather(1, peak[..., 0])
        nearest = 2 * math.pi * torch.round(left_over / (2 * math.pi))
        phase -= (left_over - nearest)[..., None] * torch.arange(count, device=size.device) / count
    return phase.remainder(2 * math.pi).to(magnitude).reshape(magnitude.shape)


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
