"""Remarks on what a sound file lost before it came here: clipping, few bits, channels that are equal."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import io

_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_EIGHT = ("PCM_U8", "PCM_S8", "ULAW", "ALAW")
_CLIPPED = 0.01  # %
_EQUAL = 1e-6  # power of the side signal relative to that of the mid signal: -60 dB


def quality_remarks(sound: io.DecodedSound) -> list[str]:
    """Remarks on a sound as it is in its file, not resampled or mixed."""
    subtype, remarks = str(sound.source["subtype"]), []
    if subtype in _EIGHT:
        remarks.append("8 bits: its noise is audible")
    if (share := clipped_percent(sound.wave, subtype)) > _CLIPPED:
        remarks.append(f"clipped: {share:.2g} % of its samples")
    if sound.wave.shape[0] == 2:
        left, right = sound.wave
        if float((left - right).square().mean()) < _EQUAL * float((left + right).square().mean()):
            remarks.append("mono in two channels: left and right are equal")
    return remarks


def clipped_percent(wave: Tensor, subtype: str) -> float:
    """% of samples in runs of three or more equal ones at the largest value of the format (float: 1 or more)."""
    bits = _BITS.get(subtype, 0)
    top = 1.0 - 1.5 * 2.0 ** (1 - bits) if bits else 1.0
    full = (wave >= top) | (wave <= -top)
    if full.shape[-1] < 3 or not bool(full.any()):
        return 0.0
    three = full[:, 2:] & (wave[:, :-2] == wave[:, 1:-1]) & (wave[:, 1:-1] == wave[:, 2:])
    inside = torch.zeros_like(full)
    for k in range(3):
        inside[:, k : k + three.shape[-1]] |= three
    return 100 * float(inside.float().mean())
