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

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> the same shape."""
        return F.group_norm(x, self.groups, self.weight, self.bias, EPSILON)


class ModulatedNorm(nn.Module):
    """norm(x) (1 + scale) + shift with scale and shift from outside: FiLM (Perez et al. 2018, arXiv:1709.07871).

    channels: C of x (B, C, *spatial)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.groups = groups_for(channels)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """x (B, C, *spatial); scale and shift (B, C, *ones) or (B, C, *spatial) -> the shape of x."""
        if scale[0, 0].numel() > 1 or not x.is_contiguous():
            return F.group_norm(x, self.groups, eps=EPSILON) * (1 + scale) + shift
        # Samples laid out as channels of one: scale and shift become the norm's own weights, and two passes over x
        # forward and four backward are saved (half the time of norm and modulation on a CPU).
        rows = x.reshape(1, -1, *x.shape[2:])
        weight, bias = (1 + scale).flatten(), shift.flatten()
        return F.group_norm(rows, self.groups * x.shape[0], weight, bias, EPSILON).view_as(x)


def groups_for(channels: int, largest: int = 32) -> int:
    """Number of groups: at least four channels each, at most `largest` groups, dividing the channels evenly."""
    for groups in range(min(largest, max(1, channels // 4)), 1, -1):
        if channels % groups == 0:
            return groups
    return 1
