"""Dynamic thresholding (Saharia et al. 2022, "Imagen", arXiv:2205.11487, section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import BadInput, Estimate, NoiseLevel
from .base import ALWAYS, CONDITIONAL, Guidance, GuidanceBranch, GuidanceInputs, parse_window, safe_ratio


class DynamicThreshold(Guidance):
    """Scales a guided estimate back into the range of valid values; comes after the guidance, such as cfg.

    s = max(limit, q(guided)), q(D) = the percentile of |D| over the valid elements of each sample
    x0 = clip(guided, -s, s) limit / s

    Imagen's limit is 1, since its pixels are in [-1, 1]. Diffused tensors here have unit variance, and latents have no
    fixed range, so the default limit is q(D_c), the percentile of the conditional estimate. A number is in units of the
    diffused tensor, whose 0 is the data's mean: for pixels with mean m and standard deviation d, use the larger of
    (1 - m) / d and (1 + m) / d.

    Args:
        percentile: Fraction of the values that are at most q, 0 to 1.
        limit: Largest valid value; null: the percentile of the conditional estimate.
        window: Lowest and highest noise level, as tau = sigma / (alpha + sigma), at which the guidance is applied.

    Raises:
        BadInput: An option is out of range.
    """

    needs_condition = False

    def __init__(self, percentile: float = 0.995, limit: float | None = None, window: tuple[float, float] = ALWAYS):
        if not 0 < percentile <= 1:
            raise BadInput(f"dynamic_threshold's percentile is above 0 and up to 1, not {percentile}")
        if limit is not None and not limit > 0:
            raise BadInput(f"dynamic_threshold's limit is above 0, or null, not {limit}")
        self.percentile, self.limit = float(percentile), limit
        self.window = parse_window(window, "dynamic_threshold")

    def branches(self, level: NoiseLevel) -> Sequence[GuidanceBranch]:
        return (CONDITIONAL,) if self.limit is None else ()

    def combine(self, inputs: GuidanceInputs) -> Estimate:
        reached = _percentile(inputs.guided, inputs.counts, self.percentile)  # (B, 1, ..., 1)
        if self.limit is None:
            limit = _percentile(inputs.estimates[CONDITIONAL], inputs.counts, self.percentile)
        else:
            limit = torch.full_like(reached, self.limit)
        s = torch.maximum(limit, reached)
        return Estimate(torch.clamp(inputs.guided, -s, s) * safe_ratio(limit, s))


def _percentile(values: Tensor, counts: Tensor | None, share: float) -> Tensor:
    """The percentile of |values| (B, C, *spatial) over elements with `counts` 1: (B, 1, ..., 1); 0 if there is none."""
    size = values.abs().flatten(1)  # (B, N)
    total = size.shape[1]
    count = torch.full_like(size[:, 0], total)
    if counts is not None:
        counted = counts.expand_as(values).flatten(1) > 0
        size, count = torch.where(counted, size, -1.0), counted.sum(1).to(size.dtype)  # excluded values sort first
    place = (total - count + share * (count - 1).clamp(min=0)).clamp(max=total - 1)[:, None]
    ordered, low = size.sort(dim=1).values, place.floor()
    at = torch.lerp(ordered.gather(1, low.long()), ordered.gather(1, place.ceil().long()), place - low)
    return at.clamp(min=0).reshape(-1, *[1] * (values.ndim - 1))
