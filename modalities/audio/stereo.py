"""Two channels: mid and side signals, the correlation of the channels and the difference of their levels."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

StereoPlanes = Literal["left_right", "mid_side"]
"""The two signals of a stereo sound that a codec encodes."""

MOST_DIFFERENCE = 60.0
"""dB; limit of a level difference, also where one channel is silent."""


def to_mid_side(media: Tensor) -> Tensor:
    """Left and right -> mid = (L + R) / 2 and side = (L - R) / 2, (..., 2, frames)."""
    left, right = media.unbind(-2)
    return torch.stack([(left + right) / 2, (left - right) / 2], dim=-2)


def to_left_right(planes: Tensor) -> Tensor:
    """Mid and side -> left = M + S and right = M - S, (..., 2, frames): the inverse of `to_mid_side`."""
    mid, side = planes.unbind(-2)
    return torch.stack([mid + side, mid - side], dim=-2)


def split_side(mid: Tensor, side: Tensor, difference: Tensor) -> tuple[Tensor, Tensor]:
    """Split a side signal S = p M + D, where D is independent of the mid signal M.

    From |L|^2 - |R|^2 = 4 Re(M conj(S)) and |L|^2 + |R|^2 = 2 (|M|^2 + |S|^2), with the level difference d,

        p = tanh(d) (|M|^2 + |S|^2) / (2 |M|^2), |D|^2 = |S|^2 - p^2 |M|^2

    so that magnitudes and level differences determine a stereo sound up to the phases of M and D: parametric stereo
    (Breebaart, van de Par, Kohlrausch and Schuijers 2005, "Parametric coding of stereo audio").

    Args:
        mid: |M|, any shape.
        side: |S|.
        difference: d = log |L| - log |R|.

    Returns:
        p, limited to |p| |M| <= |S|, and |D|.
    """
    tiny = torch.finfo(mid.dtype).tiny ** 0.5
    most = side / mid.clamp(min=tiny)
    share = torch.tanh(difference) * (1 + most.square()) / 2
    share = torch.where(mid > tiny, torch.minimum(torch.maximum(share, -most), most), 0)
    rest = side.square() - (share * mid).square()
    return share, torch.where(rest > tiny, rest.clamp(min=tiny).sqrt(), 0)  # with a finite derivative


def channel_correlation(wave: Tensor) -> float:
    """sum L R / sqrt(sum L^2 sum R^2) of (2, frames): 1: equal up to the level, 0: independent, -1: opposite.

    NaN where a channel is silent.
    """
    left, right = wave.double()
    norm = float((left.square().sum() * right.square().sum()).sqrt())
    return float((left * right).sum()) / norm if norm > 0 else math.nan


def channel_level_difference(wave: Tensor) -> float:
    """10 log10(sum L^2 / sum R^2) in dB of (2, frames), from -60 to 60: positive: the left channel is louder.

    NaN for silence.
    """
    left, right = wave.double().square().sum(-1).tolist()
    if left == right:
        return 0.0 if left > 0 else math.nan
    if min(left, right) == 0:
        return math.copysign(MOST_DIFFERENCE, left - right)
    return max(-MOST_DIFFERENCE, min(MOST_DIFFERENCE, 10 * math.log10(left / right)))
