"""Single numbers of sounds for `sonolux eval`: tones, bandwidth, attack, noise floor, level, peak, pitch, length.

Those of stereo sounds also have the correlation of the channels and their level difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.evaluation.measures import ExampleMeasure, measure_examples
from . import dsp
from .defects import noise_floor
from .stereo import channel_correlation, channel_level_difference
from .tonality import loud_windows, periodicity_of_windows, spectral_flatness

_COLUMNS = (
    ("harmonic_to_noise", "harmonic-to-noise ratio, dB", "{:.1f}"),
    ("flatness", "spectral flatness, dB", "{:.1f}"),
    ("bandwidth", "bandwidth (95 % of the energy), Hz", "{:.0f}"),
    ("attack", "attack (10 to 90 % of the peak), ms", "{:.0f}"),
    ("floor", "noise floor, dB", "{:.0f}"),
    ("level", "level, dBFS", "{:.1f}"),
    ("peak", "peak, dBFS", "{:.1f}"),
    ("pitched", "windows with a pitch, %", "{:.0f}"),
    ("pitch", "pitch, Hz", "{:.0f}"),
    ("length", "audible length, ms", "{:.0f}"),
)
_STEREO_COLUMNS = (
    ("correlation", "correlation of left and right", "{:.2f}"),
    ("level_difference", "level difference of left and right, dB", "{:+.1f}"),
)
_PITCHED = 0.2  # share of loud windows with a pitch from which a sound has one


def measure_sounds(sounds: Sequence[Tensor], rate: float, stereo: bool = False) -> list[ExampleMeasure]:
    """All measures of sounds (C, frames) of any lengths; silence has a peak and no other number.

    Harmonic-to-noise ratio, flatness: see tonality.py. Bandwidth: the frequency below which 95 % of the energy is.
    Attack: see `attack_time`. Noise floor: see `defects.noise_floor`. Level: RMS of the blocks within 40 dB of the
    loudest one. Pitch: the median over loud windows that have one, if a fifth of them has; from 150 Hz, the lowest
    pitch with three periods in a window. Audible length: within 60 dB of the peak.

    Args:
        sounds: (C, frames) each.
        rate: Hz.
        stereo: Whether there are two channels, whose correlation and level difference are measured too.
    """

    def measure(sound: Tensor) -> list[float]:
        wave = sound.detach().double().cpu()
        peak = float(dsp.amplitude_to_db(wave.abs().amax())) if wave.numel() else -120.0
        loud = loud_windows(wave, rate)
        if loud is None:
            return [*(math.nan,) * 6, peak, *(math.nan,) * 3]
        ratio, pitches = periodicity_of_windows(loud, rate)
        pitches = pitches[pitches.isfinite()]
        share = len(pitches) / len(ratio)
        start, end = dsp.audible_bounds(wave)
        return [
            float(ratio.median()),
            spectral_flatness(loud),
            roll_off(wave, rate),
            1000 * attack_time(wave, rate),
            noise_floor(wave, rate),
            20 * math.log10(dsp.active_rms(wave, rate)),
            peak,
            100 * share,
            float(pitches.median()) if share >= _PITCHED else math.nan,
            1000 * (end - start) / rate,
        ]

    def measure_channels(sound: Tensor) -> list[float]:
        wave = sound.detach().cpu()
        return [channel_correlation(wave), channel_level_difference(wave)]

    found = measure_examples(sounds, _COLUMNS, measure)
    return found + (measure_examples(sounds, _STEREO_COLUMNS, measure_channels) if stereo else [])


def roll_off(wave: Tensor, rate: float, share: float = 0.95) -> float:
    """The frequency in Hz below which this share of the energy of (C, frames) is."""
    power = torch.fft.rfft(wave.double()).abs().square().sum(0).cumsum(0)
    place = int(torch.searchsorted(power, share * power[-1]))
    return place * rate / (2 * max(1, len(power) - 1))


def attack_time(wave: Tensor, rate: float) -> float:
    """Seconds from the first 10 % to the first 90 % of the largest RMS level of (C, frames), in blocks of 2 ms."""
    levels = dsp.rms_envelope(wave.double(), rate, 0.002)
    start, end = (int((levels >= share * levels.max()).byte().argmax()) for share in (0.1, 0.9))
    return (end - start) * max(1, round(rate * 0.002)) / rate
