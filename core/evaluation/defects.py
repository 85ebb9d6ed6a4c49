"""Measures of defects that distances between sets hide: contrast and extremes.

Media are (N, C, *spatial), nominally in [-1, 1]. Modalities derive limits from real examples: values that no real
example reaches are defects.
"""

from __future__ import annotations

from torch import Tensor

from ..types import BadInput


def contrast(media: Tensor) -> Tensor:
    """Standard deviation (N,) of each example's elements around its channel means: 0 for a uniform colour."""
    flat = check_media(media).flatten(2)
    return (flat - flat.mean(2, keepdim=True)).square().mean((1, 2)).sqrt()


def extreme_share(media: Tensor, limit: float = 0.999) -> Tensor:
    """Share (N,) of each example's elements at or beyond +-limit."""
    return (check_media(media).abs() >= limit).flatten(1).double().mean(1)


def check_media(media: Tensor) -> Tensor:
    """The media (N, C, *spatial); raises BadInput for another shape, and for NaN or infinite values."""
    if media.ndim < 3:
        raise BadInput(f"media of shape {tuple(media.shape)}: give (N, C, *spatial)")
    if not media.isfinite().all():
        raise BadInput(f"{int((~media.isfinite()).flatten(1).any(1).sum())} examples hold NaN or infinite values")
    return media
