"""Quality of the seams of loops and of the joints of parts, compared with other positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..types import BadInput


@dataclass(frozen=True)
class LoopSeamMeasures:
    """Measures of the seams of a set of loops along one axis.

    Attributes:
        jump: Median jump from the last element to the first, over the median jump between neighbours inside, pooled.
        chance: (64,), the same ratio at 64 positions inside, for comparison.
        level: (N,) in dB, RMS of the part around the seam over the median RMS of the other parts of that length.
        inside: (N,) in dB, the same for a part in the middle, where there is no seam.
    """

    jump: float
    chance: Tensor
    level: Tensor
    inside: Tensor

    def share_within(self, limit: float = 3.0) -> tuple[float, float]:
        """Shares of loops whose level at the seam, and in the middle, lies within `limit` dB."""
        return float((self.level.abs() <= limit).double().mean()), float((self.inside.abs() <= limit).double().mean())


def measure_loop_seams(loops: Sequence[Tensor], part: int, axis: int = -1) -> LoopSeamMeasures:
    """Measure loops (C, *spatial), at least four parts long, along an axis.

    Args:
        loops: (C, *spatial) each.
        part: Number of elements around the seam whose RMS is measured: 20 ms of a sound.
        axis: The axis along which they are loops.
    """
    if not loops or part < 2 or any(x.shape[axis] < 4 * part for x in loops):
        raise BadInput("seams are measured on one loop or more, each four parts long or more")
    at, within, levels, inside = [], [], [], []
    places: list[list[Tensor]] = [[] for _ in range(64)]
    for loop in loops:
        x = loop.double().movedim(axis, -1).flatten(0, -2)  # (channels and rows, n)
        at.append((x[:, 0] - x[:, -1]).abs())
        jumps, n = x.diff().abs(), x.shape[-1]
        within.append(jumps.flatten())
        for k, found in enumerate(places):
            found.append(jumps[:, (k + 1) * (n - 1) // 65])
        rolled = x.roll(part // 2, -1)  # the first part lies around the seam
        rms = rolled[:, : n // part * part].reshape(len(x), -1, part).square().mean((0, 2)).sqrt().clamp(min=1e-12)
        median = rms[1:].median()
        levels.append(20 * torch.log10(rms[0] / median))
        inside.append(20 * torch.log10(rms[len(rms) // 2] / median))
    usual = torch.cat(within).median().clamp(min=1e-12)
    chance = torch.stack([torch.cat(found).median() for found in places]) / usual
    return LoopSeamMeasures(float(torch.cat(at).median() / usual), chance, torch.stack(levels), torch.stack(inside))


@dataclass(frozen=True)
class WindowJointMeasures:
    """Measures of the joints of long media, at given positions along one axis.

    Attributes:
        jump: Median jump between a position and the element before it, over the median jump between neighbours, pooled.
        chance: (32,), the same ratio with all positions shifted by up to the smallest distance between two.
        level: (N positions,) in dB, RMS of the part around a position over the median RMS of the example's parts of
            that length.
    """

    jump: float
    chance: Tensor
    level: Tensor

    def share_within(self, limit: float = 3.0) -> float:
        """Share of positions whose level lies within `limit` dB."""
        return float((self.level.abs() <= limit).double().mean())


def measure_window_joints(media: Sequence[Tensor], places: Sequence[int], part: int) -> WindowJointMeasures:
    """Measure examples (C, *spatial) at the same positions along the last axis, each half a part or more from the ends.

    Args:
        media: (C, *spatial) each.
        places: Positions of the joints.
        part: Number of elements around a position whose RMS is measured: 20 ms of a sound.
    """
    half = part // 2
    if not media or not places or half < 1:
        raise BadInput("joints are measured on one example or more, at one place or more")
    if any(not half <= p <= x.shape[-1] - half for x in media for p in places):
        raise BadInput(f"joints lie {half} elements or more from the ends; got {list(places)}")
    gap = min([b - a for a, b in pairwise(sorted(places))] or [4 * part])
    moves = [0, *(k * gap // 33 for k in range(1, 33))]
    found: list[list[Tensor]] = [[] for _ in moves]
    within, levels = [], []
    for one in media:
        x = one.double().flatten(0, -2)  # (channels and rows, n)
        jumps = x.diff().abs()
        for by, jumps_at in zip(moves, found, strict=True):
            jumps_at.append(jumps[:, [p + by - 1 for p in places if p + by < x.shape[-1]]].flatten())
        within.append(jumps.flatten())
        usual = x.unfold(-1, 2 * half, half).square().mean((0, 2)).sqrt().median().clamp(min=1e-12)
        around = torch.stack([x[:, p - half : p + half].square().mean().sqrt() for p in places])
        levels.append(20 * torch.log10(around.clamp(min=1e-12) / usual))
    pooled = torch.cat(within).median().clamp(min=1e-12)
    at, *chance = [torch.cat(jumps_at).median() / pooled for jumps_at in found]
    return WindowJointMeasures(float(at), torch.stack(chance), torch.cat(levels))
