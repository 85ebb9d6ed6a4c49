"""Tones and sweeps of a sound: figures that change when tones are replaced by noise with the same spectrum.

All are computed on the mean channel of (C, frames), in windows of 20 ms every 5 ms, over the windows whose power is
within 20 dB of the loudest one. They are NaN for silence.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from . import dsp

_WINDOW, _HOP = 0.020, 0.005  # seconds: long enough for pitches from 150 Hz, short enough for fast sweeps
_RANGE = 20.0  # dB below the loudest window
_FINE = 4  # points of an autocorrelation per sample
_PERIODS = 3  # of the lowest pitch in a window
_FLOOR = 1e-6  # of the largest power of a window
_LOWEST = 50.0  # Hz
_PITCHED = 3.0  # dB, harmonic-to-noise ratio of a window that has a pitch


class Tonality(NamedTuple):
    """Figures of one sound, see the functions of the same names.

    Attributes:
        harmonic_to_noise: In dB.
        flatness: In dB.
        sweep: In octaves per second.
    """

    harmonic_to_noise: float
    flatness: float
    sweep: float


def measure_tonality(wave: Tensor, rate: float) -> Tonality:
    """All figures of a sound (C, frames) at `rate` Hz."""
    loud = loud_windows(wave, rate)
    if loud is None:
        return Tonality(math.nan, math.nan, math.nan)
    return Tonality(harmonic_to_noise_ratio(loud), spectral_flatness(loud), sweep_rate(loud, rate))


def harmonic_to_noise_ratio(loud: LoudWindows) -> float:
    """Ratio of periodic to other power in dB: the median over loud windows of 10 log10(r / (1 - r)).

    r is the largest local maximum of r_x(lag) / r_w(lag): autocorrelation of the windowed sound over that of the
    window, both 1 at lag 0 (Boersma 1993, "Accurate short-term analysis of the fundamental frequency and the
    harmonics-to-noise ratio of a sampled sound", Proc. Inst. Phonetic Sciences 17, equations 4 and 9). Lags are those
    of pitches with at least three periods in a window. A tone in white noise gives the ratio of their powers; white
    noise alone about -4 dB, since the largest of many random maxima is not 0.

    Args:
        loud: Windows of a sound.
    """
    return float(ratios_of_windows(loud.frames, loud.window).median())


def ratios_of_windows(frames: Tensor, window: Tensor, fine: int = _FINE) -> Tensor:
    """Harmonic-to-noise ratio (N,) in dB of each windowed frame (N, n), -60 to 60: see `harmonic_to_noise_ratio`.

    Args:
        frames: Frames multiplied by the window.
        window: (n,).
        fine: Points of the autocorrelation per sample; 1 is enough where n is many periods.
    """
    return _ratio_in_db(_peaks(frames, window, fine).amax(1))


class Periodicity(NamedTuple):
    """Periodicity of windows: harmonic-to-noise ratio (N,) in dB, and pitch (N,) in Hz, NaN where there is none."""

    ratio: Tensor
    pitch: Tensor


def periodicity_of_windows(loud: LoudWindows, rate: float) -> Periodicity:
    """Harmonic-to-noise ratio of each window, and its pitch where the ratio is 3 dB or more.

    The pitch is the rate over the smallest lag at which the autocorrelation has a maximum of 90 % of its largest one or
    more: of about equal maxima at multiples of the period the first one counts.

    Args:
        loud: Windows of a sound.
        rate: Hz.
    """
    peaks = _peaks(loud.frames, loud.window, _FINE)
    largest = peaks.amax(1, keepdim=True)
    pitch = rate * _FINE / ((peaks >= 0.9 * largest).byte().argmax(1) + 1)
    ratio = _ratio_in_db(largest[:, 0])
    return Periodicity(ratio, torch.where(ratio >= _PITCHED, pitch, math.nan))


def _ratio_in_db(share: Tensor) -> Tensor:
    share = share.clamp(1e-6, 1 - 1e-6)
    return 10 * torch.log10(share / (1 - share))


def _peaks(frames: Tensor, window: Tensor, fine: int) -> Tensor:
    """The local maxima of r_x(lag) / r_w(lag), 0 elsewhere, at lags of 1, 2, ... points: (N, lags)."""
    correlation = _autocorrelation(frames, fine) / _autocorrelation(window[None], fine)
    near = correlation[:, : fine * len(window) // _PERIODS + 1]
    inner = near[:, 1:-1]
    return torch.where((inner > near[:, :-2]) & (inner >= near[:, 2:]), inner, 0)


def spectral_flatness(loud: LoudWindows) -> float:
    """Geometric over arithmetic mean of the power spectrum in dB (Gray and Markel 1974), median over loud windows.

    At most 0. White noise gives 10 log10(exp(-0.577)) = -2.5 dB, tones far less.

    Args:
        loud: Windows of a sound.
    """
    power = loud.power[:, 1:-1]
    power = power.clamp(min=_FLOOR * power.amax(1, keepdim=True))
    return float((10 * (power.log10().mean(1) - power.mean(1).log10())).median())


def sweep_rate(loud: LoudWindows, rate: float) -> float:
    """Slope of the pitch in octaves per second: above 0 for a sound that rises.

    Least squares over loud windows, weighted by their power, of the mean of log2(frequency), weighted by the power
    spectrum above 50 Hz. It moves with the pitch and, in noise, with the edge of the band.

    Args:
        loud: Windows of a sound.
        rate: Hz.
    """
    frequency = torch.fft.rfftfreq(len(loud.window), 1 / rate, dtype=loud.window.dtype)
    power = loud.power[:, frequency > _LOWEST]
    weight = power.sum(1)
    octave = power @ torch.log2(frequency[frequency > _LOWEST]) / weight.clamp(min=dsp.SILENCE**2)
    share = weight / weight.sum()
    centred = loud.seconds - (share * loud.seconds).sum()
    spread = (share * centred.square()).sum()
    return float((share * centred * octave).sum() / spread) if spread > 0 else 0.0


class LoudWindows(NamedTuple):
    """Loud windows of a sound: their places in seconds (N,), windowed samples (N, n) and the window (n,)."""

    seconds: Tensor
    frames: Tensor
    window: Tensor

    @property
    def power(self) -> Tensor:
        """Power spectra (N, bins)."""
        return torch.fft.rfft(self.frames).abs().square()


def loud_windows(wave: Tensor, rate: float) -> LoudWindows | None:
    """The loud windows of a sound (C, frames); None for silence."""
    size, hop = (max(4, round(seconds * rate)) for seconds in (_WINDOW, _HOP))
    x = wave.detach().double().cpu().mean(0)
    if not len(x):
        return None
    frames = functional.pad(x, (size // 2, size // 2)).unfold(0, size, hop)
    window = torch.hann_window(size, dtype=x.dtype)
    frames = (frames - frames.mean(1, keepdim=True)) * window
    power = frames.square().sum(1)
    if power.max() < dsp.SILENCE**2:
        return None
    loud = torch.nonzero(power >= power.max() * 10 ** (-_RANGE / 10))[:, 0]
    return LoudWindows(loud * (hop / rate), frames[loud], window)


def _autocorrelation(frames: Tensor, fine: int) -> Tensor:
    """Autocorrelation, 1 at lag 0, at `fine` points per sample (interpolation of a band-limited function is exact)."""
    size = 2 * frames.shape[1]
    power = torch.fft.rfft(frames, size).abs().square()
    values = torch.fft.irfft(functional.pad(power, (0, (fine - 1) * size // 2)), fine * size)
    return values / values[:, :1].clamp(min=torch.finfo(values.dtype).tiny)
