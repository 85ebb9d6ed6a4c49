"""Downsampling, upsampling, and patches: blocks of positions folded into channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .conv import make_conv

_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class Downsample(nn.Module):
    """Halves the resolution: a linear map of every block of 2^dims positions."""

    def __init__(self, dims: int, c_in: int, c_out: int, bias: bool = True):
        super().__init__()
        self.conv = make_conv(dims, c_in, c_out, kernel=2, stride=2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, *spatial) -> (B, C_out, *spatial / 2)."""
        return self.conv(x)


class Upsample(nn.Module):
    """Doubles the resolution: mixes channels, then repeats every position, which avoids checkerboard artefacts."""

    def __init__(self, dims: int, c_in: int, c_out: int, bias: bool = True):
        super().__init__()
        self.conv = make_conv(dims, c_in, c_out, kernel=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, *spatial) -> (B, C_out, 2 *spatial)."""
        return F.interpolate(self.conv(x), scale_factor=2, mode="nearest")


def per_axis(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """One value for each spatial axis: those of a sequence, or the same number for all axes."""
    return (value,) * dims if isinstance(value, int) else tuple(value)


def mean_pool(x: Tensor, factor: int | Sequence[int]) -> Tensor:
    """Mean over blocks of f1 x f2 ... positions, (B, C, n1, n2, ...) -> (B, C, n1 / f1, n2 / f2, ...)."""
    factors = per_axis(factor, x.ndim - 2)
    if set(factors) == {1}:
        return x
    if x.ndim - 2 in _POOL:
        return _POOL[x.ndim - 2](x, factors)
    return space_to_channels(x, factors).unflatten(1, (x.shape[1], -1)).mean(2)


def space_to_channels(x: Tensor, factor: int | Sequence[int]) -> Tensor:
    """Fold blocks of positions into channels (pixel unshuffle): (B, C, n1, ...) -> (B, C f1 ..., n1 / f1, ...)."""
    dims = x.ndim - 2
    factors = per_axis(factor, dims)
    if set(factors) == {1}:
        return x
    for axis, f in enumerate(factors):  # (B, C, h1, f1, h2, f2, ...)
        x = x.unflatten(2 + 2 * axis, (-1, f))
    inner, outer = range(3, 3 + 2 * dims, 2), range(2, 2 + 2 * dims, 2)
    return x.permute(0, 1, *inner, *outer).flatten(1, 1 + dims)


def channels_to_space(x: Tensor, factor: int | Sequence[int]) -> Tensor:
    """The inverse of `space_to_channels` (pixel shuffle), (B, C f1 ..., n1, ...) -> (B, C, f1 n1, ...)."""
    dims = x.ndim - 2
    factors = per_axis(factor, dims)
    if set(factors) == {1}:
        return x
    x = x.unflatten(1, (-1, *factors))  # (B, C, f1, f2, ..., h1, h2, ...)
    order = [n for axis in range(dims) for n in (2 + dims + axis, 2 + axis)]
    x = x.permute(0, 1, *order)
    for axis in range(dims):
        x = x.flatten(2 + axis, 3 + axis)
    return x
