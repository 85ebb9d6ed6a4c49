"""Loops of an exact length, from beats and beats per minute."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....core.types import BadInput

BEATS, BPM = (0.25, 1024.0), (20.0, 400.0)


def loop_seconds(beats: float, bpm: float) -> float:
    """The length of a loop: beats * 60 / bpm.

    Raises:
        BadInput: beats lies outside of 0.25 to 1024, or bpm outside of 20 to 400.
    """
    for name, value, (low, high) in (("beats", beats, BEATS), ("bpm", bpm, BPM)):
        if not (math.isfinite(value) and low <= value <= high):
            raise BadInput(f"{name} is a number from {low:g} to {high:g}, not {value:g}")
    return beats * 60 / bpm


def loop_frames(beats: float, bpm: float, rate: float) -> int:
    """Frames of a loop: rate * beats * 60 / bpm, rounded to a whole number."""
    return round(rate * loop_seconds(beats, bpm))


def resample_loop(loop: Tensor, frames: int) -> Tensor:
    """A loop (C, n) -> (C, frames), one period of the same periodic signal; exact for any two lengths.

    The Fourier series of the loop is kept up to the lower of the two Nyquist frequencies, so that the end continues
    into the beginning as before. At an unchanged rate, speed and pitch change by n / frames.

    Raises:
        BadInput: A length is 0.
    """
    n = loop.shape[-1]
    if n < 1 or frames < 1:
        raise BadInput(f"a loop has at least one frame; got {n} and {frames}")
    if n == frames:
        return loop
    series = torch.fft.rfft(loop.double())
    kept = series.new_zeros(*series.shape[:-1], frames // 2 + 1)
    most = (min(n, frames) - 1) // 2 + 1  # without the Nyquist frequency, whose phase is not determined
    kept[..., :most] = series[..., :most]
    return (torch.fft.irfft(kept, frames) * (frames / n)).to(loop)
