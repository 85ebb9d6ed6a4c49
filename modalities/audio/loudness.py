"""Loudness and true peak of (C, frames) sounds at any rate: ITU-R BS.1770-4, with an extension for sounds
shorter than 400 ms.

K-weighting is defined by its response in Hz: that of the standard's two biquads at 48 kHz is applied to sounds of any
rate. The loudness of a recording is therefore independent of its rate (a bilinear transform at 8 kHz would distort the
shelf).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ...core.types import BadInput
from . import dsp

BLOCK, HOP = 0.4, 0.1  # seconds: gating blocks overlap by 75 %
ABSOLUTE, RELATIVE = (
    -70.0,
    -10.0,
)  # the two gates: in LUFS, and in LU relative to the loudness of blocks above the first
OFFSET = -0.691  # dB; a 997 Hz sine of full scale in one channel then has -3.01 LUFS

_RATE = 48000.0
_TAIL = 0.25  # seconds; length of the response of the 38 Hz high-pass (60 time constants)
_LONGEST = 1 << 18  # samples filtered at once
_SURROUND = 1.41  # weight of the rear channels


class Loudness(NamedTuple):
    """The loudness of a sound.

    Attributes:
        level: Loudness in LUFS; None: silent.
        method: "integrated", or "active" where the sound is shorter than 400 ms or no block passes the gate.
    """

    level: float | None
    method: str


def k_weighting_biquads(rate: float = _RATE) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """K-weighting as two biquads (b, a): a high shelf of +4 dB (the head), then a high-pass at 38 Hz.

    The bilinear transform, K = tan(pi f0 / rate), of the analogue filters whose transform at 48 kHz has the
    coefficients of BS.1770-4, tables 1 and 2.

    Raises:
        BadInput: For rates of 4000 Hz or less, too low for the corner of the shelf (1682 Hz).
    """
    if rate <= 4000:
        raise BadInput(f"K-weighting as biquads needs a rate above 4000 Hz; got {rate:g}")
    gain, corner, q = 3.999843853973347, 1681.974450955533, 0.7071752369554196
    k, high = math.tan(math.pi * corner / rate), 10 ** (gain / 20)
    band, a0 = high**0.4996667741545416, 1 + k / q + k * k
    shelf = (
        ((high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / q + k * k) / a0),
        (1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0),
    )
    corner, q = 38.13547087602444, 0.5003270373238773
    k = math.tan(math.pi * corner / rate)
    a0 = 1 + k / q + k * k
    return [shelf, ((1.0, -2.0, 1.0), (1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0))]


def k_weighting_response(hertz: Tensor) -> Tensor:
    """The complex response of K-weighting at each frequency in Hz; constant above 24 kHz."""
    turn = 2 * math.pi * hertz.double().clamp(max=_RATE / 2) / _RATE
    z = torch.polar(torch.ones_like(turn), -turn)
    out = torch.ones_like(z)
    for b, a in k_weighting_biquads():
        out = out * (b[0] + b[1] * z + b[2] * z * z) / (a[0] + a[1] * z + a[2] * z * z)
    return out


@lru_cache(maxsize=8)
def _response(size: int, rate: float) -> Tensor:
    return k_weighting_response(torch.arange(size // 2 + 1, dtype=torch.float64) * (rate / size))


def apply_k_weighting(wave: Tensor, rate: float) -> Tensor:
    """K-weighted (C, frames), float64."""
    return torch.cat([wave[:, :0].double(), *_weighted_pieces(wave, rate)], dim=1)


def _weighted_pieces(wave: Tensor, rate: float) -> Iterator[Tensor]:
    """`apply_k_weighting` in pieces that follow each other; long sounds are filtered in blocks (overlap-add)."""
    frames, tail = wave.shape[-1], math.ceil(_TAIL * rate)
    size = 1 << (min(frames + tail, _LONGEST) - 1).bit_length()
    step = max(size - tail, 1)
    after = torch.zeros(wave.shape[0], size - step, dtype=torch.float64)  # what earlier blocks add to the next one
    for start in range(0, frames, step):
        spectrum = torch.fft.rfft(wave[:, start : start + step].double(), size)
        block = torch.fft.irfft(spectrum * _response(size, rate), size)
        block[:, : size - step] += after
        yield block[:, : min(step, frames - start)]
        after = block[:, step:]


def _weights(channels: int) -> Tensor:
    """Weight of each channel: 5.0 is L R C Ls Rs, 5.1 is L R C LFE Ls Rs; 1 for all channels otherwise."""
    rear = {5: [1, 1, 1, _SURROUND, _SURROUND], 6: [1, 1, 1, 0, _SURROUND, _SURROUND]}
    return torch.tensor(rear.get(channels, [1] * channels), dtype=torch.float64)


def _power(wave: Tensor, rate: float) -> Tensor:
    """(frames,): weighted sum over channels of the K-weighted samples' squares."""
    _check(wave)
    return (apply_k_weighting(wave, rate).square() * _weights(wave.shape[0])[:, None]).sum(0)


def _totals(wave: Tensor, rate: float, counts: Tensor) -> Tensor:
    """The sum of `_power` over the first n samples, for every n of `counts`; piece by piece, which saves memory."""
    _check(wave)
    places, inverse = torch.unique(counts, return_inverse=True)
    totals, total, start = torch.zeros(len(places), dtype=torch.float64), 0.0, 0
    for piece in _weighted_pieces(wave, rate):
        sums = total + (piece.square() * _weights(wave.shape[0])[:, None]).sum(0).cumsum(0)
        first, last = torch.searchsorted(places, torch.tensor([start, start + len(sums)]), right=True)
        totals[first:last] = sums[places[first:last] - start - 1]
        total, start = float(sums[-1]), start + len(sums)
    return totals[inverse]


def _check(wave: Tensor) -> None:
    if wave.ndim != 2 or not all(bool(torch.isfinite(part).all()) for part in dsp.split_in_parts(wave)):
        raise BadInput(f"loudness takes finite sounds (channels, frames); got {tuple(wave.shape)}")


def _lufs(power: float) -> float:
    return OFFSET + 10 * math.log10(power)


def integrated_loudness(wave: Tensor, rate: float) -> float | None:
    """Gated loudness in LUFS; None for less than 400 ms and if no block is above -70 LUFS.

    l_j = -0.691 + 10 log10 sum_c G_c z_cj over blocks of 400 ms every 100 ms; the mean of the blocks above -70 LUFS
    that are also above the mean of these blocks minus 10 LU (BS.1770-4, annex 1, equations 2 to 7).
    """
    frames, block = wave.shape[-1], round(BLOCK * rate)
    if frames < block:
        return None
    count = int((frames - block) / (HOP * rate)) + 1
    starts = (torch.arange(count) * HOP * rate).round().long().clamp(max=frames - block)
    before, until = _totals(wave, rate, torch.stack([starts, starts + block]))
    blocks = (until - before) / block
    loud = blocks[blocks > 10 ** ((ABSOLUTE - OFFSET) / 10)]
    if not len(loud):
        return None
    gated = loud[loud > loud.mean() * 10 ** (RELATIVE / 10)]
    return _lufs(float(gated.mean()))


def active_loudness(wave: Tensor, rate: float, range_db: float = 40.0, window: float = 0.01) -> float | None:
    """The K-weighted level, in LUFS, of the blocks of 10 ms within `range_db` of the loudest; None for silence.

    For sounds that are too short for `integrated_loudness`; for a steady tone both are equal.
    """
    power, block = _power(wave, rate), max(1, round(window * rate))
    if not len(power) or float(power.max()) < dsp.SILENCE**2:
        return None
    blocks = torch.stack([piece.mean() for piece in power.split(block)])
    lengths = torch.tensor([len(piece) for piece in power.split(block)], dtype=torch.float64)
    loud = blocks >= blocks.max() * 10 ** (-range_db / 10)
    return _lufs(float((blocks * lengths)[loud].sum() / lengths[loud].sum()))


def measure_loudness(wave: Tensor, rate: float) -> Loudness:
    """Integrated loudness if the sound has 400 ms and passes the gate, otherwise the level of its active part."""
    level = integrated_loudness(wave, rate)
    return Loudness(level, "integrated") if level is not None else Loudness(active_loudness(wave, rate), "active")


def true_peak(wave: Tensor, rate: float) -> float:
    """The largest magnitude between the samples, in dBTP, measured at four times the rate (BS.1770-4, annex 2)."""
    _check(wave)
    fine = dsp.resample(wave.double(), rate, 4 * rate) if wave.shape[-1] else wave
    peak = max((float(x.abs().max()) for x in (wave, fine) if x.numel()), default=0.0)
    return 20 * math.log10(max(peak, dsp.SILENCE))


def loudness_gain(wave: Tensor, rate: float, target: float = -23.0, ceiling: float = -1.0) -> float:
    """The factor that brings a sound to `target` LUFS, or less if its true peak would exceed `ceiling` dBTP.

    1 for silence. For sounds shorter than 400 ms the level of the active part is used.
    """
    level = measure_loudness(wave, rate).level
    if level is None:
        return 1.0
    return dsp.db_to_amplitude(min(target - level, ceiling - true_peak(wave, rate)))
