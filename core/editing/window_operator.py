"""Overlapping windows of a tensor, and the least-squares tensor for given windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..types import BadInput, move_like


class WindowOperator:
    """A x = the windows of x; A^+ y = the weighted mean of windows y, which minimizes |W (A x - y)| over x.

    Along each axis, element i of n of a window has the weight sin^2(pi (i + 1/2) / n). The weight is close to 0 at both
    ends of the window, so that there the other windows dominate. A^+ A x = x.

    Args:
        size: Number of elements of a window along each axis.
        full: Number of elements of the whole tensor along each axis, at least `size`.
        overlap: Smallest share of a window that the next window overlaps, 0 to 0.9.
        wrap: Circular axes, along which windows continue at the other end.

    Raises:
        BadInput: A window is larger than the tensor, or `overlap` is out of range.
    """

    def __init__(self, size: Sequence[int], full: Sequence[int], overlap: float = 0.5, wrap: Sequence[int] = ()):
        if len(size) != len(full) or any(not 1 <= n <= whole for n, whole in zip(size, full, strict=True)):
            raise BadInput(f"windows of {list(size)} do not fit into {list(full)}")
        if not 0 <= overlap <= 0.9:
            raise BadInput(f"windows overlap by a share from 0 to 0.9, not {overlap}")
        self.size, self.full = tuple(size), tuple(full)
        axes = [
            _places(n, whole, overlap, axis in wrap) for axis, (n, whole) in enumerate(zip(size, full, strict=True))
        ]
        self.places: list[tuple[Tensor, ...]] = list(itertools.product(*axes))
        self.weights = _outer([_bell(n) for n in size])
        total = torch.zeros(self.full, dtype=torch.float64)
        for at in self.places:
            total[_grid(at)] += self.weights
        self.shares = [self.weights / total[_grid(at)] for at in self.places]  # normalized weights of each window
        self._placed: dict[tuple[torch.device, torch.dtype], list[_Placed]] = {}

    def __len__(self) -> int:
        return len(self.places)

    def cut_window(self, x: Tensor, window: int) -> Tensor:
        """One window (B, C, *size) of x (B, C, *full); axes of size 1 are not cut."""
        for axis, index in enumerate(self._on(x)[window].indices):
            if x.shape[2 + axis] != 1:
                x = x.index_select(2 + axis, index)
        return x

    def inverse(self, windows: Iterator[Tensor]) -> Tensor:
        """A^+: windows (B, C, *size), in order -> (B, C, *full)."""
        out: Tensor | None = None
        for i, y in enumerate(windows):
            if out is None:
                out = y.new_zeros(*y.shape[:2], *self.full)
            placed = self._on(y)[i]
            out[(slice(None), slice(None), *_grid(placed.indices))] += y * placed.share
        assert out is not None
        return out

    def _on(self, x: Tensor) -> list[_Placed]:
        """Indices and shares of all windows on the device and in the dtype of x, copied once."""
        key = x.device, x.dtype
        if key not in self._placed:
            self._placed[key] = [
                _Placed(tuple(move_like(index, x, torch.long) for index in at), move_like(share, x))
                for at, share in zip(self.places, self.shares, strict=True)
            ]
        return self._placed[key]


class _Placed(NamedTuple):
    """Index tensors of one window along each axis, and its normalized weights, on one device."""

    indices: tuple[Tensor, ...]
    share: Tensor


def _places(n: int, whole: int, overlap: float, loop: bool) -> list[Tensor]:
    """Indices of the elements of each window along one axis."""
    stride = max(1, math.floor(n * (1 - overlap)))
    if n == whole:
        starts = [0]
    elif loop:
        count = -(-whole // stride)
        starts = [round(i * whole / count) for i in range(count)]
    else:
        count = -(-(whole - n) // stride)
        starts = [round(i * (whole - n) / count) for i in range(count + 1)]
    return [(torch.arange(n) + start) % whole for start in starts]


def _bell(n: int) -> Tensor:
    return torch.sin(torch.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n).square()


def _outer(axes: Sequence[Tensor]) -> Tensor:
    out = torch.ones((), dtype=torch.float64)
    for weights in axes:
        out = out[..., None] * weights
    return out


def _grid(at: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Index tensors that broadcast to the grid of the window."""
    return tuple(index.reshape(-1, *[1] * (len(at) - 1 - axis)) for axis, index in enumerate(at))
