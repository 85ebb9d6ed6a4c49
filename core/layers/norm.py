"""Normalisation of features, with the modulation by the embedding that follows it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He 2018, arXiv:1803.08494): mean 0, variance 1 over a group and all positions.

    channels: C of x (B, C, *spatial)
    affine:   learn a scale and a shift for each channel
    """

    def __init__(self, channels: int, affine: bool = True):
        super().__init__()
        self.groups = groups_for(channels)
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def fill(self, rng: np.random.Generator) -> None:
        """Initial weights: scale 1, shift 0."""
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> the same shape."""
        return F.group_norm(x, self.groups, self.weight, self.bias, 1e-5)


def groups_for(channels: int, largest: int = 32) -> int:
    """Number of groups: at least four channels each, at most `largest` groups, dividing the channels evenly."""
    for groups in range(min(largest, max(1, channels // 4)), 1, -1):
        if channels % groups == 0:
            return groups
    return 1
