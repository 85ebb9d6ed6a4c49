"""Post-processing of generated sounds: trim silence, fade the edges, set the level, limit true peaks.

Sounds are (C, frames); levels in dB of full scale (dBFS), true peaks in dBTP, loudness in LUFS, fades in ms. Nothing is
clipped: sounds that would be too loud are scaled down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.types import BadInput
from . import dsp, loudness

_BLOCK = 0.005  # seconds; silence is detected by the RMS of blocks of this length


@dataclass(frozen=True)
class PostProcessing:
    """Settings of the post-processing, applied in this order.

    Attributes:
        trim: Level in dB relative to the loudest 5 ms below which both ends count as silence and are removed; None: no
            trimming.
        fade_in: Length in ms of a raised cosine at the start; trimming keeps as much before the attack, which is not
            faded.
        fade_out: Length in ms of a raised cosine at the end.
        lufs: Target loudness; None: no loudness normalisation.
        peak: Target level of the largest sample, in dBFS; None: no peak normalisation.
        ceiling: Maximum true peak in dBTP; None: only samples are kept within full scale.
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
class ProcessedSound:
    """A processed sound and its measurements.

    Attributes:
        wave: (C, frames).
        seconds: Length in seconds.
        gain: Applied gain in dB.
        lufs: Loudness; None: silent.
        method: "integrated", or "active" where the sound is shorter than 400 ms or no block passes the gate.
        true_peak: True peak in dBTP.
        limited: Whether the ceiling reduced the level below the target.
    """

    wave: Tensor
    seconds: float
    gain: float
    lufs: float | None
    method: str
    true_peak: float
    limited: bool


def post_process(wave: Tensor, rate: float, settings: PostProcessing | None = None) -> ProcessedSound:
    """(C, frames) trimmed, faded, levelled and limited.

    Raises:
        BadInput: For non-finite samples and for a sound without samples.
    """
    settings = settings or PostProcessing()
    if wave.ndim != 2 or wave.shape[-1] == 0 or not bool(torch.isfinite(wave).all()):
        raise BadInput(
            f"a sound to process is (channels, frames) with at least one frame, all finite; got {tuple(wave.shape)}"
        )
    out = wave if settings.trim is None else trim_ends(wave, rate, settings.trim, settings.fade_in)
    out = fade_ends(out, rate, settings.fade_in, settings.fade_out)
    target = _gain(out, rate, settings)
    gain = (
        target
        if settings.ceiling is None
        else min(target, dsp.db_to_amplitude(settings.ceiling - loudness.true_peak(out, rate)))
    )
    out = out * gain
    level = loudness.measure_loudness(out, rate)
    return ProcessedSound(
        wave=out,
        seconds=out.shape[-1] / rate,
        gain=20 * math.log10(gain),
        lufs=level.level,
        method=level.method,
        true_peak=loudness.true_peak(out, rate),
        limited=gain < target * (1 - 1e-6),
    )


def _gain(wave: Tensor, rate: float, settings: PostProcessing) -> float:
    """The gain that brings a sound to the target level; 1 without a target or for silence."""
    if settings.lufs is not None:
        level = loudness.measure_loudness(wave, rate).level
        return 1.0 if level is None else dsp.db_to_amplitude(settings.lufs - level)
    largest = float(wave.abs().max())
    return 1.0 if settings.peak is None or largest < dsp.SILENCE else dsp.db_to_amplitude(settings.peak) / largest


def trim_ends(wave: Tensor, rate: float, floor: float = -55.0, before: float = 2.0) -> Tensor:
    """(C, frames) without the silence at its ends: blocks of 5 ms more than |floor| dB below the loudest.

    Args:
        wave: (C, frames). A silent sound is returned unchanged.
        rate: Hz.
        floor: Level in dB relative to the loudest block.
        before: Length in ms that is kept before the first audible block.
    """
    blocks, block = dsp.rms_envelope(wave, rate, _BLOCK), max(1, round(rate * _BLOCK))
    if blocks.max() < dsp.SILENCE:
        return wave
    loud = torch.nonzero(blocks >= blocks.max() * dsp.db_to_amplitude(floor))
    start = max(0, int(loud[0]) * block - round(rate * before / 1000))
    return wave[..., start : (int(loud[-1]) + 1) * block]


def fade_ends(wave: Tensor, rate: float, fade_in: float, fade_out: float) -> Tensor:
    """(C, frames) times (1 - cos(pi u)) / 2 over `fade_in` ms, u from 0 to 1, and mirrored over `fade_out` ms.

    A fade is at most half as long as the sound. The first and the last sample are 0 where there is a fade.
    """
    frames = wave.shape[-1]
    out = wave.clone()
    rise, fall = (min(frames // 2, round(rate * ms / 1000)) for ms in (fade_in, fade_out))
    if rise:
        out[..., :rise] *= _ramp(rise).to(out)
    if fall:
        out[..., frames - fall :] *= _ramp(fall).flip(0).to(out)
    return out


def limit_unknown_parts(wave: Tensor, known: Tensor, rate: float) -> Tensor:
    """(C, frames) whose parts that are not known have no sample above full scale; the known parts are unchanged.

    Each such part is scaled by one gain, which begins at 1 next to a known part and is reached within 5 ms; what still
    exceeds full scale within these 5 ms is clipped.

    Args:
        wave: (C, frames).
        known: (1, frames) bool, True where the sound is known.
        rate: Hz.
    """
    full = max(1.0, float((wave.abs() * known).max()))  # a known part above full scale is left to the writer
    out, edges = wave.clone(), known[0].int().diff().nonzero()[:, 0] + 1
    starts = [0, *edges.tolist()]
    for start, end in zip(starts, [*starts[1:], wave.shape[-1]], strict=True):
        peak = float(wave[:, start:end].abs().max())
        if bool(known[0, start]) or peak <= full:
            continue
        n = min(round(_BLOCK * rate), (end - start) // 2)
        share = torch.ones(end - start, dtype=torch.float64)  # of the gain
        if start > 0:
            share[:n] = _ramp(n)
        if end < wave.shape[-1]:
            share[end - start - n :] = _ramp(n).flip(0)
        gain = 1 + (full / peak - 1) * share
        out[:, start:end] = (wave[:, start:end] * gain.to(wave)).clamp(-full, full)
    return out


def _ramp(count: int) -> Tensor:
    return (1 - torch.cos(torch.pi * torch.arange(count, dtype=torch.float64) / count)) / 2
