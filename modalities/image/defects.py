"""Defects of pictures that distances between sets do not show: one number per picture (C, H, W) in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...core.evaluation.adapter import DefectMeasure
from ...core.evaluation.defects import contrast, extreme_share


def sharpness(picture: Tensor) -> float:
    """Energy of the differences between neighbouring pixels relative to that of the picture, in dB.

    It is low for blurred and high for noisy pictures; 3 dB for white noise.
    """
    x = picture.double()
    x = x - x.mean((1, 2), keepdim=True)
    steps = (x.diff(dim=1).square().mean() + x.diff(dim=2).square().mean()) / 2
    return float(10 * torch.log10((steps + 1e-12) / (x.square().mean() + 1e-12)))


def tile_seam_jump(picture: Tensor) -> float:
    """The larger of the two mean jumps across the edges of a tile, relative to the mean jump inside."""
    x = picture.double()
    inside = [x.diff(dim=axis).abs().mean() for axis in (1, 2)]
    across = [(x.select(axis, 0) - x.select(axis, -1)).abs().mean() for axis in (1, 2)]
    return max(float(a / b.clamp(min=1e-6)) for a, b in zip(across, inside, strict=True))


def measure_defects(pictures: Sequence[Tensor], real: Sequence[Tensor], loop: bool = False) -> list[DefectMeasure]:
    """All defects of samples and of real pictures; also that of the seam for tiles."""
    rows: list[DefectMeasure] = []

    def add(
        key: str, name: str, meaning: str, value_of: Callable[[Tensor], float], limits: Callable, form: str = ""
    ) -> None:
        generated, known = (torch.tensor([float(value_of(p)) for p in some]).double() for some in (pictures, real))
        low, high = limits(known)
        flags = [(v < low) | (v > high) for v in (generated, known)]
        rows.append(DefectMeasure(key, name, meaning, generated, flags[0], known, flags[1], form))

    add(
        "blank",
        "blank",
        "less than half the lowest contrast of real ones",
        lambda p: float(contrast(p[None])[0]),
        lambda known: (max(0.5 * float(known.min()), 1e-9), 10.0),
        "{:.2f}",
    )
    add(
        "saturated",
        "saturated",
        "5 % more pixels at black or white than any real one",
        lambda p: float(extreme_share(p[None])[0]),
        lambda known: (-1.0, float(known.max()) + 0.05),
        "{:.1%}",
    )
    add(
        "sharpness",
        "blurred or noisy",
        "energy of pixel differences more than 3 dB outside the range of 99 % of real ones",
        sharpness,
        lambda known: (float(known.quantile(0.005)) - 3, float(known.quantile(0.995)) + 3),
        "{:.1f} dB",
    )
    if loop:
        add(
            "seam",
            "seam of the tile",
            "the larger jump across two edges relative to jumps inside: 1 to 1.5 without a seam; above 2 counts",
            tile_seam_jump,
            lambda known: (-1.0, 2.0),
            "{:.2f}",
        )
    return rows
