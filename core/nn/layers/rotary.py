"""Rotary positions along several axes (Su et al. 2021, arXiv:2104.09864; Heo et al. 2024, arXiv:2403.13298).

The channels of a head form pairs, and the pairs are divided among the axes. Pair j of p pairs of an axis is rotated by
the angle f_j i at position i along this axis,

    f_j = BASE^(-j / p)

A product q_i . k_j of two rotated vectors depends on i - j only, so that any size can be sampled. Along a circular axis
of n positions, f_j is rounded to a multiple of 2 pi / n: position n is then position 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

BASE = 100.0  # the slowest pairs turn once in about 600 positions


class Rotation(NamedTuple):
    """Cosines and sines of the rotation at each of N positions.

    Attributes:
        cos: (N, head_dim / 2).
        sin: (N, head_dim / 2).
    """

    cos: Tensor
    sin: Tensor


def rotation_at(size: Sequence[int], head_dim: int, wrap: Sequence[int], x: Tensor) -> Rotation:
    """The rotation at every position of a grid, in row-major order; the last few are kept, so do not change it.

    Args:
        size: Positions along each axis.
        head_dim: Channels of a head, even.
        wrap: Circular axes.
        x: Gives the device; the result is float32, or float64 if x is.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if torch.compiler.is_compiling():  # a graph contains the computation: sizes may be symbols, tensors placeholders
        return _rotation.__wrapped__(size, head_dim, wrap, x.device, dtype)
    with torch.inference_mode(False):  # training cannot use a tensor that was made in inference mode
        return _rotation(tuple(size), head_dim, tuple(wrap), x.device, dtype)


@lru_cache(maxsize=4)  # sampling and its auxiliary models, training and its previews
def _rotation(
    size: Sequence[int], head_dim: int, wrap: Sequence[int], device: torch.device, dtype: torch.dtype
) -> Rotation:
    wide = torch.float32 if device.type == "mps" else torch.float64
    dims, pairs, angles = len(size), head_dim // 2, []
    for axis, n in enumerate(size):
        count = pairs // dims + (axis < pairs % dims)
        frequency = BASE ** (-torch.arange(count, device=device, dtype=wide) / max(1, count))
        if axis in wrap:
            turn = 2 * math.pi / n
            frequency = (frequency / turn).round() * turn
        angle = torch.arange(n, device=device, dtype=wide)[:, None] * frequency  # (n, count)
        shape = [1] * dims
        shape[axis] = n
        angles.append(angle.reshape(*shape, count).expand(*size, count))
    angle = torch.cat(angles, dim=-1).flatten(0, -2)
    return Rotation(angle.cos().to(dtype), angle.sin().to(dtype))


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate pairs (j, j + d / 2) of the channels of x (..., N, d), computed in the precision of the rotation."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = rotation
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
