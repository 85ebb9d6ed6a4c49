"""Audible defects of sounds that distances between sets do not show: one number per sound (C, frames).

Most limits are derived from the real sounds of the data: their largest value or 99 % quantile, plus a margin.
`measure_defects` returns the list for `sonolux eval`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ...core.evaluation.adapter import DefectMeasure
from ...core.evaluation.defects import check_media
from ...core.types import BadInput
from . import dsp

SEAM_RATIO, SEAM_LEVEL = 1.1, 3.0
"""Limits of a seamless loop: jump at the seam over the median jump, and level difference at the seam in dB."""


def is_silent(media: Tensor, floor: float = -60.0) -> Tensor:
    """Which sounds (N, C, frames) never reach `floor` dB of full scale."""
    return check_media(media).abs().flatten(1).amax(1) < 10 ** (floor / 20)


def is_clipped(media: Tensor, run: int = 3, limit: float = 0.999) -> Tensor:
    """Which sounds (N, C, frames) stay at or beyond +-limit, on one side, for `run` samples in a row.

    A peak scaled to full scale reaches it for one or two samples only; a clipped wave stays there.
    """
    wave = check_media(media)
    return _stays(wave >= limit, run) | _stays(wave <= -limit, run)


def _stays(at: Tensor, run: int) -> Tensor:
    run = min(run, at.shape[-1])
    return at.unfold(-1, run, 1).all(-1).flatten(1).any(1)


def largest_dc_offset(wave: Tensor) -> float:
    """The largest constant offset of a channel, as a share of full scale."""
    return float(dsp.dc_offset(wave).abs().max())


def count_clicks(wave: Tensor, rate: float) -> int:
    """Number of isolated jumps in a sound.

    A jump is a second difference d[n] = x[n+1] - 2 x[n] + x[n-1] of more than 8 times the RMS of d over 5 ms before it
    and over 5 ms after it, whichever is larger, and of 1 % of the peak. Attacks (loud after the jump) and ends of
    sounds (loud before it) do not count. Jumps within 5 ms count once.
    """
    x = wave.double().mean(0)
    reach = max(8, round(0.005 * rate))
    if len(x) < 2 * reach + 5:
        return 0
    d = (x[2:] - 2 * x[1:-1] + x[:-2]).abs()
    power = functional.pad(d.square().cumsum(0), (1, 0))
    gap = 3  # samples around a jump that it affects itself
    places = torch.arange(len(d))
    before = _mean(power, (places - gap - reach).clamp(min=0), (places - gap).clamp(min=0))
    after = _mean(power, (places + gap + 1).clamp(max=len(d)), (places + gap + 1 + reach).clamp(max=len(d)))
    around = torch.maximum(before, after).clamp(min=0).sqrt()
    found = torch.nonzero((d > 8 * around) & (d > 0.01 * x.abs().max()) & (d > 2e-4))[:, 0]
    if not len(found):
        return 0
    return 1 + int((found.diff() > reach).sum())


def _mean(power: Tensor, start: Tensor, end: Tensor) -> Tensor:
    return (power[end] - power[start]) / (end - start).clamp(min=1)


def noise_floor(wave: Tensor, rate: float) -> float:
    """The 10 % quantile of the level of 10 ms blocks, in dB relative to the loudest block; at least -120."""
    blocks = dsp.rms_envelope(wave.double(), rate, 0.01)
    if not len(blocks) or blocks.max() < dsp.SILENCE:
        return -120.0
    return float(dsp.amplitude_to_db(blocks.quantile(0.1) / blocks.max()))


def high_frequency_share(wave: Tensor) -> float:
    """The share of a sound's energy above a quarter of its rate (the upper half of its bandwidth), in dB."""
    power = torch.fft.rfft(wave.double()).abs().square().sum(0)
    total = power.sum()
    if total < dsp.SILENCE:
        return -120.0
    return float(dsp.amplitude_to_db((power[len(power) // 2 :].sum() / total).sqrt()))


def seam_jump(wave: Tensor) -> tuple[float, float]:
    """|x[0] - x[-1]| and the median of |x[n+1] - x[n]|, of the mean channel of a loop."""
    x = wave.double().mean(0)
    if len(x) < 4:
        raise BadInput(f"a loop of {len(x)} samples is too short to measure its seam")
    return float((x[0] - x[-1]).abs()), float(x.diff().abs().median())


def seam_level(wave: Tensor, rate: float) -> float:
    """The RMS of the 20 ms around a loop's seam over the median of its other 20 ms blocks, in dB; 0 for silence."""
    x = wave.double()
    half = min(max(1, round(0.01 * rate)), x.shape[-1] // 4)
    around = torch.cat([x[:, -half:], x[:, :half]], dim=1).square().mean().sqrt()
    inside = x[:, half : x.shape[-1] - half]
    blocks = inside[:, : inside.shape[-1] // (2 * half) * 2 * half].reshape(x.shape[0], -1, 2 * half)
    usual = blocks.square().mean((0, 2)).sqrt().median()
    if usual < dsp.SILENCE or around < dsp.SILENCE:
        return 0.0 if max(usual, around) < dsp.SILENCE else -120.0
    return float(20 * torch.log10(around / usual))


def measure_defects(
    sounds: Sequence[Tensor], real: Sequence[Tensor], rate: float, loop: bool = False
) -> list[DefectMeasure]:
    """All defects of samples as stored in their files, and of real sounds; also those of the seam for loops."""
    rows: list[DefectMeasure] = []

    def add(key: str, name: str, meaning: str, value_of, limit, form: str = "") -> None:
        generated, known = (torch.tensor([float(value_of(s)) for s in some]).double() for some in (sounds, real))
        low, high = limit if isinstance(limit, tuple) else limit(known)
        flags = [(v < low) | (v > high) for v in (generated, known)]
        rows.append(DefectMeasure(key, name, meaning, generated, flags[0], known, flags[1], form))

    add("silent", "silent", "never above -60 dB of full scale", lambda s: is_silent(s[None]), (-1, 0.5))
    add("clipped", "clipped", "three samples in a row at full scale", lambda s: is_clipped(s[None]), (-1, 0.5))
    add("offset", "constant offset", "more than 1 % of full scale", largest_dc_offset, (-1, 0.01))
    add(
        "clicks",
        "with clicks",
        "more isolated jumps than 99 % of real sounds have",
        lambda s: count_clicks(s, rate),
        lambda known: (-1, float(known.quantile(0.99)) + 0.5),
    )
    add(
        "noise_floor",
        "with hiss",
        "noise floor relative to the loudest part more than 3 dB above that of 99 % of real sounds",
        lambda s: noise_floor(s, rate),
        lambda known: (-200, float(known.quantile(0.99)) + 3),
        "{:.0f} dB",
    )
    add(
        "high_share",
        "dull or shrill",
        "energy in the upper half of the frequencies more than 3 dB outside the range of 99 % of real sounds",
        high_frequency_share,
        lambda known: (float(known.quantile(0.005)) - 3, float(known.quantile(0.995)) + 3),
        "{:.0f} dB",
    )
    if loop:
        usual = max(float(torch.tensor([seam_jump(s)[1] for s in sounds]).median()), 1e-6)
        add(
            "seam_jump",
            "jump at the seam",
            f"in median steps of the loops: the median should be {SEAM_RATIO} or less; loops above 5 are counted",
            lambda s: seam_jump(s)[0] / usual,
            (-1, 5.0),
            "{:.2f}",
        )
        add(
            "seam_level",
            "level at the seam",
            f"the 20 ms around the seam differ by more than {SEAM_LEVEL:g} dB from the median of 20 ms parts",
            lambda s: seam_level(s, rate),
            (-SEAM_LEVEL, SEAM_LEVEL),
            "{:+.1f} dB",
        )
    return rows
