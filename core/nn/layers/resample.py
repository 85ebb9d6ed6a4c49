"""Downsampling, upsampling, and patches: blocks of positions folded into channels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .conv import make_conv

_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class Downsample(nn.Module):
    """Halves the resolution: a linear map of every block of 2^dims positions."""

    def __init__(self, dims: int, c_in: int, c_out: int):
        super().__init__()
        self.conv = make_conv(dims, c_in, c_out, kernel=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, *spatial) -> (B, C_out, *spatial / 2)."""
        return self.conv(x)


class Upsample(nn.Module):
    """Doubles the resolution: mixes channels, then repeats every position, which avoids checkerboard artefacts."""

    def __init__(self, dims: int, c_in: int, c_out: int):
        super().__init__()
        self.conv = make_conv(dims, c_in, c_out, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, *spatial) -> (B, C_out, 2 *spatial)."""
        return F.interpolate(self.conv(x), scale_factor=2, mode="nearest")


def mean_pool(x: Tensor, factor: int) -> Tensor:
    """Mean over blocks of factor^dims positions, (B, C, *spatial) -> (B, C, *spatial / factor)."""
    return x if factor == 1 else _POOL[x.ndim - 2](x, factor)


def space_to_channels(x: Tensor, factor: int) -> Tensor:
    """Fold blocks of positions into channels (pixel unshuffle): (B, C, *spatial) -> (B, C f^dims, *spatial / f)."""
    if factor == 1:
        return x
    dims = x.ndim - 2
    for axis in range(dims):  # (B, C, h1, f, h2, f, ...)
        x = x.unflatten(2 + 2 * axis, (-1, factor))
    inner, outer = range(3, 3 + 2 * dims, 2), range(2, 2 + 2 * dims, 2)
    return x.permute(0, 1, *inner, *outer).flatten(1, 1 + dims)


def channels_to_space(x: Tensor, factor: int) -> Tensor:
    """The inverse of `space_to_channels` (pixel shuffle), (B, C factor^dims, *spatial) -> (B, C, factor *spatial)."""
    if factor == 1:
        return x
    dims = x.ndim - 2
    x = x.unflatten(1, (-1, *[factor] * dims))  # (B, C, f, f, ..., h1, h2, ...)
    order = [n for axis in range(dims) for n in (2 + dims + axis, 2 + axis)]
    x = x.permute(0, 1, *order)
    for axis in range(dims):
        x = x.flatten(2 + axis, 3 + axis)
    return x
