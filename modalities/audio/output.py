"""From a generated sound to one that can be used: silence trimmed, edges faded, level set, peaks held down.

Sounds are (C, frames); levels in dB of full scale (dBFS), true peaks in dBTP, loudness in LUFS, fades in ms. Nothing is
ever clipped: what would be too loud is scaled down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.types import BadInput
from . import dsp, loudness

_BLOCK = 0.005  # seconds: silence is told by the RMS of such blocks


@dataclass(frozen=True)
class Finish:
    """What is done to a sound, in this order.

    Attributes:
        trim: dB under the loudest 5 ms below which both ends count as silence and are cut; None: nothing is cut.
        fade_in: Ms of a raised cosine at the start; what is trimmed leaves as much before the attack, which is not
            faded.
        fade_out: Ms of a raised cosine at the end.
        lufs: Loudness that is wanted; None: not levelled so.
        peak: Level that the largest sample gets, in dBFS; None: not levelled so.
        ceiling: The true peak in dBTP that nothing passes; None: only samples stay within full scale.
    """

    trim: float | None = -55.0
    fade_in: float = 2.0
    fade_out: float = 15.0
    lufs: float | None = None
    peak: float | None = None
    ceiling: float | None = -1.0

    def __post_init__(self):
        if self.trim is not None and not -120 <= self.trim <= -10:
            raise BadInput(f"trim is a level in dB from -120 to -10 (or null: nothing is cut); got {self.trim}")
        for name in ("fade_in", "fade_out"):
            if not 0 <= getattr(self, name) <= 60_000:
                raise BadInput(f"{name} is a time in ms, 0 or more; got {getattr(self, name)}")
        if self.lufs is not None and self.peak is not None:
            raise BadInput("lufs and peak both set the level: give one of them, and null for the other")
        for name, low in (("lufs", -70), ("peak", -70), ("ceiling", -40)):
            value = getattr(self, name)
            if value is not None and not low <= value <= 0:
                raise BadInput(f"{name} is a level from {low} to 0 (or null); got {value}")


@dataclass(frozen=True)
class Finished:
    """A sound as it is written, and what is known of it.

    Attributes:
        wave: (C, frames).
        seconds: Its length.
        gain: dB that it was raised by.
        lufs: Its loudness; None: silent.
        method: "integrated", or "active" where less than 400 ms or the gate allow no integrated loudness.
        true_peak: dBTP.
        limited: Whether the ceiling kept it below the level wanted.
    """

    wave: Tensor
    seconds: float
    gain: float
    lufs: float | None
    method: str
    true_peak: float
    limited: bool


def finish(wave: Tensor, rate: float, how: Finish | None = None) -> Finished:
    """(C, frames) trimmed, faded, levelled and limited.

    Raises:
        BadInput: For non-finite samples and for none at all.
    """
    how = how or Finish()
    if wave.ndim != 2 or wave.shape[-1] == 0 or not bool(torch.isfinite(wave).all()):
        raise BadInput(f"a sound to finish is (channels, frames), a frame or more, all finite; got {tuple(wave.shape)}")
    out = wave if how.trim is None else trimmed(wave, rate, how.trim, how.fade_in)
    out = faded(out, rate, how.fade_in, how.fade_out)
    wanted = _gain(out, rate, how)
    gain = wanted if how.ceiling is None else min(wanted, dsp.amplitude(how.ceiling - loudness.true_peak(out, rate)))
    out = out * gain
    level = loudness.measure(out, rate)
    return Finished(
        wave=out,
        seconds=out.shape[-1] / rate,
        gain=20 * math.log10(gain),
        lufs=level.level,
        method=level.method,
        true_peak=loudness.true_peak(out, rate),
        limited=gain < wanted * (1 - 1e-6),
    )


def _gain(wave: Tensor, rate: float, how: Finish) -> float:
    """The factor that brings a sound to the level wanted; 1 where none is, or where it is silent."""
    if how.lufs is not None:
        level = loudness.measure(wave, rate).level
        return 1.0 if level is None else dsp.amplitude(how.lufs - level)
    largest = float(wave.abs().max())
    return 1.0 if how.peak is None or largest < dsp.SILENCE else dsp.amplitude(how.peak) / largest


def trimmed(wave: Tensor, rate: float, floor: float = -55.0, before: float = 2.0) -> Tensor:
    """(C, frames) without the silence at its ends: blocks of 5 ms more than |floor| dB under the loudest.

    Args:
        before: Ms that stay in front of the first block that sounds. A silent sound stays as it is.
    """
    blocks, block = dsp.envelope(wave, rate, _BLOCK), max(1, round(rate * _BLOCK))
    if blocks.max() < dsp.SILENCE:
        return wave
    loud = torch.nonzero(blocks >= blocks.max() * dsp.amplitude(floor))
    start = max(0, int(loud[0]) * block - round(rate * before / 1000))
    return wave[..., start : (int(loud[-1]) + 1) * block]


def faded(wave: Tensor, rate: float, fade_in: float, fade_out: float) -> Tensor:
    """(C, frames) times (1 - cos(pi u)) / 2 over `fade_in` ms, u from 0 to 1, and its mirror image over `fade_out` ms.

    A fade takes half of the sound at most. The first and the last sample are 0 where there is a fade.
    """
    frames = wave.shape[-1]
    out = wave.clone()
    rise, fall = (min(frames // 2, round(rate * ms / 1000)) for ms in (fade_in, fade_out))
    if rise:
        out[..., :rise] *= _ramp(rise).to(out)
    if fall:
        out[..., frames - fall :] *= _ramp(fall).flip(0).to(out)
    return out


def _ramp(count: int) -> Tensor:
    return (1 - torch.cos(torch.pi * torch.arange(count, dtype=torch.float64) / count)) / 2
