"""Normalisation of features, with the modulation by the embedding that follows it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # added to a variance


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He 2018, arXiv:1803.08494): mean 0, variance 1 over a group and all positions.

    channels: C of x (B, C, *spatial); each has a learned scale and shift
    """

    def __init__(self, channels: int):
        super().__init__()
        self.groups = groups_for(channels)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def fill(self, rng: np.random.Generator) -> None:
        """Initial weights: scale 1, shift 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """(B, C, *spatial) -> the same shape; positions where `padding` (B, 1, *spatial) holds count for nothing."""
        if padding is None:
            return F.group_norm(x, self.groups, self.weight, self.bias, EPSILON)
        weight, bias = (v.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2)) for v in (self.weight, self.bias))
        return normalised(x, self.groups, padding) * weight + bias


class ModulatedNorm(nn.Module):
    """norm(x) (1 + scale) + shift with scale and shift from outside: FiLM (Perez et al. 2018, arXiv:1709.07871).

    channels: C of x (B, C, *spatial)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.groups = groups_for(channels)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor, padding: Tensor | None = None) -> Tensor:
        """x (B, C, *spatial); scale and shift (B, C, *ones) or (B, C, *spatial) -> the shape of x."""
        if padding is not None or scale[0, 0].numel() > 1 or not x.is_contiguous():
            return normalised(x, self.groups, padding) * (1 + scale) + shift
        # Samples laid out as channels of one: scale and shift become the norm's own weights, and two passes over x
        # forward and four backward are saved (half the time of norm and modulation on a CPU).
        rows = x.reshape(1, -1, *x.shape[2:])
        weight, bias = (1 + scale).flatten(), shift.flatten()
        return F.group_norm(rows, self.groups * x.shape[0], weight, bias, EPSILON).view_as(x)


def normalised(x: Tensor, groups: int, padding: Tensor | None = None) -> Tensor:
    """Group normalisation alone, (B, C, *spatial) -> the same shape; where `padding` holds, 0 and of no influence."""
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


def groups_for(channels: int, largest: int = 32) -> int:
    """Number of groups: at least four channels each, at most `largest` groups, dividing the channels evenly."""
    for groups in range(min(largest, max(1, channels // 4)), 1, -1):
        if channels % groups == 0:
            return groups
    return 1
