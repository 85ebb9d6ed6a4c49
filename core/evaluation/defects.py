"""Measures of defects that distances between sets hide: contrast, extremes, silence and clipping.

Media are (N, C, *spatial), nominally in [-1, 1]. Modalities derive limits from real examples: values that no real
example reaches are defects.
"""

from __future__ import annotations

from torch import Tensor

from ..types import BadInput


def contrast(media: Tensor) -> Tensor:
    """Standard deviation (N,) of each example's elements around its channel means: 0 for a uniform colour."""
    flat = _checked(media).flatten(2)
    return (flat - flat.mean(2, keepdim=True)).square().mean((1, 2)).sqrt()


def extremes(media: Tensor, limit: float = 0.999) -> Tensor:
    """Share (N,) of each example's elements at or beyond +-limit."""
    return (_checked(media).abs() >= limit).flatten(1).double().mean(1)


def silent(media: Tensor, floor: float = -60.0) -> Tensor:
    """Which sounds (N, C, frames) never reach `floor` dB of full scale."""
    return _checked(media).abs().flatten(1).amax(1) < 10 ** (floor / 20)


def clipped(media: Tensor, run: int = 3, limit: float = 0.999) -> Tensor:
    """Which sounds (N, C, frames) stay at or beyond +-limit, on one side, for `run` samples in a row.

    A peak scaled to full scale reaches it for one or two samples only; a clipped wave stays there.
    """
    wave = _checked(media)
    return _stays(wave >= limit, run) | _stays(wave <= -limit, run)


def _stays(at: Tensor, run: int) -> Tensor:
    run = min(run, at.shape[-1])
    return at.unfold(-1, run, 1).all(-1).flatten(1).any(1)


def _checked(media: Tensor) -> Tensor:
    if media.ndim < 3:
        raise BadInput(f"media of shape {tuple(media.shape)}: give (N, C, *spatial)")
    if not media.isfinite().all():
        raise BadInput(f"{int((~media.isfinite()).flatten(1).any(1).sum())} examples hold NaN or infinite values")
    return media
