"""Convolution in one, two or three dimensions that can treat any spatial axis as a loop, chosen at each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...types import BadInput
from .init import fan_in_

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Conv(nn.Module):
    """Convolution (B, C_in, *spatial) -> (B, C_out, *spatial / stride), zero padding kernel // 2 (none at kernel 2).

    dims:   number of spatial axes, 1 to 3
    c_in:   input channels
    c_out:  output channels
    kernel: elements along each axis; odd, or equal to the stride
    stride: step along each axis
    zero:   start at zero, so that a residual branch begins as nothing
    """

    def __init__(self, dims: int, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, zero: bool = False):
        super().__init__()
        if dims not in _CONV:
            raise BadInput(f"layers exist for 1, 2 or 3 spatial axes, not {dims}")
        self.dims, self.stride, self.zero = dims, stride, zero
        self.padding = kernel // 2 if kernel % 2 else 0
        self.weight = nn.Parameter(torch.zeros(c_out, c_in, *[kernel] * dims))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def fill(self, rng: np.random.Generator) -> None:
        """Initial weights: variance 1 / fan_in, or zero."""
        fan_in_(self.weight, rng, 0.0 if self.zero else 1.0)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, wrap: tuple[int, ...] = ()) -> Tensor:
        """wrap: spatial axes (0 is the first) along which the padding comes from the other end."""
        conv, pad = _CONV[self.dims], self.padding
        if not wrap or not pad:
            return conv(x, self.weight, self.bias, self.stride, pad)
        x = pad_axes(x, [(pad, pad) if axis in wrap else (0, 0) for axis in range(self.dims)], "circular")
        return conv(x, self.weight, self.bias, self.stride, [0 if axis in wrap else pad for axis in range(self.dims)])


def pad_axes(x: Tensor, amounts: Sequence[tuple[int, int]], mode: str = "constant") -> Tensor:
    """Pad x (B, C, *spatial) by (before, after) along each spatial axis; mode: constant (zeros), replicate or circular.

    Circular padding may be longer than the axis: it then goes round more than once.
    """
    for axis, (before, after) in enumerate(amounts):
        if not before and not after:
            continue
        dim, n = axis + 2, x.shape[axis + 2]
        index = torch.arange(-before, n + after, device=x.device)
        if mode == "circular":
            x = x.index_select(dim, index % n)
        elif mode == "replicate":
            x = x.index_select(dim, index.clamp(0, n - 1))
        else:
            sides: list[Any] = [0, 0] * (x.ndim - dim - 1) + [before, after]
            x = F.pad(x, sides)
    return x
