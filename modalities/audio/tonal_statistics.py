"""Statistics of the tones of sounds: about twenty numbers that change when noise takes the place of tones.

Computed on batches (N, frames), in windows of 20 and 64 ms that overlap by half, over the windows of a sound whose
power is within 20 dB of its loudest one: silence before or after a sound has no effect, and a change of level has none.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from . import dsp
from .tonality import ratios_of_windows

_SHORT, _LONG = 0.020, 0.064  # seconds: for fast sweeps, and for the lines of a low pitch
_RANGE = 20.0  # dB below the loudest window
_AUDIBLE = 25.0  # dB below the loudest bin of a pair of windows
_LOCAL = 400.0  # Hz, width of the mean from which the detail of a spectrum is measured
_EDGES = (100.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0, 12800.0)  # Hz, of bands
_QUANTILES = (0.1, 0.5, 0.9)


def tonal_statistics(waves: Tensor, rate: float, floor: float = -60.0) -> Tensor:
    """(N, frames) at `rate` Hz -> (N, d), finite, also for silence. Every part has one unit, dB.

    For both lengths of windows: quantiles over windows of the harmonic-to-noise ratio; the mean absolute change of the
    level of a frequency from one window to the next, where it is audible (white noise changes by about 6 dB, a steady
    tone by 0); the detail of the spectrum in each band, which is the RMS difference of a level from the mean of its
    surroundings of 400 Hz (5.6 dB for noise). For long windows also the crest of each band: maximum over mean power.

    Args:
        waves: Sounds, padded with silence to one length.
        rate: Hz.
        floor: Lowest level in dB below the loudest frequency of a window.
    """
    waves = waves / waves.abs().amax(1, keepdim=True).clamp(min=dsp.SILENCE)
    parts: list[Tensor] = []
    for seconds, fine in ((_SHORT, 2), (_LONG, 1)):
        windows = _windows(waves, 2 * max(4, round(seconds * rate / 2)))
        spectra = _spectra(windows, floor)
        bands = _bands(spectra.shape[1], rate)
        parts += [
            _quantiles(windows, ratios_of_windows(windows.frames, windows.window, fine)),
            _change(windows, spectra),
        ]
        parts.append(_mean(windows, _detail(spectra, max(3, int(_LOCAL * seconds) | 1), bands)))
        if seconds == _LONG:
            parts.append(_mean(windows, _crest(spectra, bands)))
    return torch.cat(parts, 1)


class _Windows(NamedTuple):
    """The loud windows of a batch: frames (M, n) times the window (n,), and which of the (N, K) windows they are."""

    frames: Tensor
    window: Tensor
    loud: Tensor


def _windows(waves: Tensor, size: int) -> _Windows:
    frames = functional.pad(waves, (size // 2, size)).unfold(1, size, size // 2)
    window = torch.hann_window(size, dtype=waves.dtype)
    frames = (frames - frames.mean(2, keepdim=True)) * window
    power = frames.square().sum(2)
    loud = power >= power.amax(1, keepdim=True) * 10 ** (-_RANGE / 10)
    return _Windows(frames[loud], window, loud)


def _spectra(windows: _Windows, floor: float) -> Tensor:
    """Levels (M, bins) in dB, without those at 0 Hz and at half the rate."""
    power = torch.fft.rfft(windows.frames).abs().square()[:, 1:-1]
    return 10 * power.clamp(min=10 ** (floor / 10) * power.amax(1, keepdim=True)).clamp(min=1e-30).log10()


def _bands(bins: int, rate: float) -> list[slice]:
    """The bins of each band up to half the rate."""
    edges = [hertz for hertz in _EDGES if hertz < 0.45 * rate]
    places = [round(hertz / (rate / 2) * (bins + 1)) - 1 for hertz in edges]
    return [slice(max(a, 0), max(b, a + 1)) for a, b in pairwise([*places, bins])]


def _quantiles(windows: _Windows, values: Tensor) -> Tensor:
    """Quantiles (N, 3) over the loud windows of each sound of values (M,)."""
    table = torch.full(windows.loud.shape, torch.nan)
    table[windows.loud] = values.float()
    return torch.nan_to_num(torch.nanquantile(table, torch.tensor(_QUANTILES), dim=1).T)


def _mean(windows: _Windows, values: Tensor) -> Tensor:
    """Mean (N, k) over the loud windows of each sound of values (M, k)."""
    owner, count = torch.nonzero(windows.loud)[:, 0], windows.loud.sum(1, keepdim=True)
    return torch.zeros(len(windows.loud), values.shape[1]).index_add_(0, owner, values) / count.clamp(min=1)


def _change(windows: _Windows, spectra: Tensor) -> Tensor:
    """Mean absolute difference (N, 1) in dB of the levels of neighbouring windows, where one of them is audible."""
    loud = windows.loud
    rows = torch.zeros(loud.shape, dtype=torch.long)
    rows[loud] = torch.arange(len(spectra))
    pairs = loud[:, 1:] & loud[:, :-1]
    after, before = spectra[rows[:, 1:][pairs]], spectra[rows[:, :-1][pairs]]
    loudest = torch.maximum(after, before)
    audible = (loudest > loudest.amax(1, keepdim=True) - _AUDIBLE).float()
    sums = torch.stack([((after - before).abs() * audible).sum(1), audible.sum(1)], 1)
    total = torch.zeros(len(loud), 2).index_add_(0, torch.nonzero(pairs)[:, 0], sums)
    return total[:, :1] / total[:, 1:].clamp(min=1)


def _detail(spectra: Tensor, width: int, bands: list[slice]) -> Tensor:
    """RMS (M, bands) of the difference of each level from the mean of the `width` bins around it."""
    local = functional.avg_pool1d(spectra[:, None], width, 1, width // 2, count_include_pad=False)[:, 0]
    square = (spectra - local).square()
    return torch.stack([square[:, band].mean(1) for band in bands], 1).sqrt()


def _crest(spectra: Tensor, bands: list[slice]) -> Tensor:
    """Maximum over mean power in each band (M, bands), in dB."""
    power = 10 ** (spectra / 10)
    mean = torch.stack([power[:, band].mean(1) for band in bands], 1).log10()
    return torch.stack([spectra[:, band].amax(1) for band in bands], 1) - 10 * mean
