"""Faults of pictures that distances between sets hide: one number a picture, (C, H, W) each in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...core.evaluation.adapter import DefectMeasure
from ...core.evaluation.defects import contrast, extremes


def sharpness(picture: Tensor) -> float:
    """Energy of the differences between neighbouring pixels over that of the picture, in dB: low where it is blurred,
    high where it is noisy; 3 dB for white noise."""
    x = picture.double()
    x = x - x.mean((1, 2), keepdim=True)
    steps = (x.diff(dim=1).square().mean() + x.diff(dim=2).square().mean()) / 2
    return float(10 * torch.log10((steps + 1e-12) / (x.square().mean() + 1e-12)))


def seam(picture: Tensor) -> float:
    """The larger of the two mean jumps across the edges of a tile, over the mean jump along the same axis inside."""
    x = picture.double()
    inside = [x.diff(dim=axis).abs().mean() for axis in (1, 2)]
    across = [(x.select(axis, 0) - x.select(axis, -1)).abs().mean() for axis in (1, 2)]
    return max(float(a / b.clamp(min=1e-6)) for a, b in zip(across, inside, strict=True))


def measure(pictures: Sequence[Tensor], real: Sequence[Tensor], loop: bool = False) -> list[DefectMeasure]:
    """Every defect, of samples and of real pictures; the seam's where they are tiles."""
    rows: list[DefectMeasure] = []

    def add(
        key: str, name: str, meaning: str, value_of: Callable[[Tensor], float], limits: Callable, form: str = ""
    ) -> None:
        made, known = (torch.tensor([float(value_of(p)) for p in some]).double() for some in (pictures, real))
        low, high = limits(known)
        flags = [(v < low) | (v > high) for v in (made, known)]
        rows.append(DefectMeasure(key, name, meaning, made, flags[0], known, flags[1], form))

    add(
        "blank",
        "blank",
        "less than half the contrast of the flattest real one",
        lambda p: float(contrast(p[None])[0]),
        lambda known: (max(0.5 * float(known.min()), 1e-9), 10.0),
        "{:.2f}",
    )
    add(
        "saturated",
        "saturated",
        "5 % more pixels at black or white than any real one",
        lambda p: float(extremes(p[None])[0]),
        lambda known: (-1.0, float(known.max()) + 0.05),
        "{:.1%}",
    )
    add(
        "sharpness",
        "blurred or noisy",
        "energy between neighbouring pixels outside of 99 % of real ones' by 3 dB",
        sharpness,
        lambda known: (float(known.quantile(0.005)) - 3, float(known.quantile(0.995)) + 3),
        "{:.1f} dB",
    )
    if loop:
        add(
            "seam",
            "seam of the tile",
            "the larger jump across two edges, in usual ones: 1 to 1.5 where there is no seam; above 2 counts",
            seam,
            lambda known: (-1.0, 2.0),
            "{:.2f}",
        )
    return rows
