"""Group normalisation, its modulation by an embedding, and normalisation by the root mean square."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # added to a variance


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018, arXiv:1803.08494): mean 0, variance 1 over a group and all positions.

    Args:
        channels: C of x (B, C, *spatial); each has a learned scale and shift.
        affine: Whether scale and shift are learned.
    """

    def __init__(self, channels: int, affine: bool = True):
        super().__init__(group_count(channels), channels, eps=EPSILON, affine=affine)

    def forward(self, input: Tensor, padding: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            input: (B, C, *spatial).
            padding: (B, 1, *spatial), True at positions that are left out of mean and variance.

        Returns:
            The shape of `input`.
        """
        if padding is None:
            return super().forward(input)
        weight, bias = (v.to(input.dtype).reshape(-1, *[1] * (input.ndim - 2)) for v in (self.weight, self.bias))
        return group_normalise(input, self.num_groups, padding) * weight + bias


class ModulatedNorm(GroupNorm):
    """Group normalisation with given scale and shift: norm(x) (1 + scale) + shift.

    This is FiLM (Perez et al. 2018, arXiv:1709.07871).

    Args:
        channels: C of x (B, C, *spatial).
    """

    def __init__(self, channels: int):
        super().__init__(channels, affine=False)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor, padding: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Normalise and modulate.

        Args:
            x: (B, C, *spatial).
            scale: (B, C, *ones) or (B, C, *spatial).
            shift: The shape of `scale`.
            padding: (B, 1, *spatial), True at positions that are left out of mean and variance.

        Returns:
            The shape of x.
        """
        if padding is not None or scale[0, 0].numel() > 1 or not x.is_contiguous():
            return group_normalise(x, self.num_groups, padding) * (1 + scale) + shift
        # The batch is treated as one sample with B C channels, and scale and shift as the norm's weights. This saves
        # two passes over x in the forward and four in the backward direction (half the time on a CPU).
        rows = x.reshape(1, -1, *x.shape[2:])
        weight, bias = (1 + scale).flatten(), shift.flatten()
        return F.group_norm(rows, self.num_groups * x.shape[0], weight, bias, EPSILON).view_as(x)


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean of x^2 over the last axis), times a learned scale (Zhang & Sennrich 2019, arXiv:1910.07467).

    Args:
        width: Length of the last axis.
        affine: Whether a scale is learned.
    """

    def __init__(self, width: int, affine: bool = True):
        super().__init__(width, eps=EPSILON, elementwise_affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) -> the same shape, in the dtype of x."""
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)


def group_normalise(x: Tensor, groups: int, padding: Tensor | None = None) -> Tensor:
    """Group normalisation of x (B, C, *spatial) without scale and shift; padding is left out, and 0 in the result."""
    if padding is None:
        return F.group_norm(x, groups, eps=EPSILON)
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    rows, empty = wide.masked_fill(padding, 0).unflatten(1, (groups, -1)), padding[:, None]  # (B, G, C / G, *spatial)
    axes = tuple(range(2, rows.ndim))
    count = (~empty).sum(axes, keepdim=True, dtype=rows.dtype).clamp(min=1) * rows.shape[2]  # (B, 1, 1, *ones)
    mean = rows.sum(axes, keepdim=True) / count
    rows = (rows - mean).masked_fill(empty, 0)
    variance = rows.square().sum(axes, keepdim=True) / count
    return (rows * (variance + EPSILON).rsqrt()).flatten(1, 2).to(x.dtype)


def group_count(channels: int, largest: int = 32) -> int:
    """The largest number of groups, at most `largest`, with at least four channels each and equal sizes."""
    for groups in range(min(largest, max(1, channels // 4)), 1, -1):
        if channels % groups == 0:
            return groups
    return 1
