"""The middle of the media, along every axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..types import BadInput
from ..util.annotations import Range
from .base import DegradedMedia, LinearOperator


class Crop(LinearOperator):
    """Keeps the elements between two shares of every axis; the rest is not measured.

    A x = x[first:last] along each axis of n elements, first = round(begin n), last = round(end n); A* = A^+ pads with
    zeros.

    Args:
        begin: Share of an axis at which the measured part begins, 0 to 1.
        end: Share at which it ends.

    Raises:
        BadInput: The shares are not in order.
    """

    masks = True

    def __init__(self, begin: Annotated[float, Range(0, 1)] = 0.25, end: Annotated[float, Range(0, 1)] = 0.75):
        if not 0 <= begin < end <= 1:
            raise BadInput(f"crop keeps the part from begin to end, with 0 <= begin < end <= 1, not {begin} to {end}")
        self.begin, self.end = begin, end

    def check(self, size: Sequence[int]) -> None:
        if any(first == last for first, last in map(self._part, size)):
            raise BadInput(f"crop from {self.begin:g} to {self.end:g} keeps nothing of {list(size)} elements")

    def apply(self, x: Tensor) -> Tensor:
        """The part, (B, C, *part)."""
        self.check(x.shape[2:])
        return x[(..., *(slice(*self._part(n)) for n in x.shape[2:]))]

    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The part, with zeros around it."""
        parts = [(first, n - last) for n in size for first, last in [self._part(n)]]
        return functional.pad(y, [n for pair in reversed(parts) for n in pair])

    def degrade(self, media: Tensor, rng: np.random.Generator) -> DegradedMedia:
        """The example, of which only the part is known."""
        return DegradedMedia(media, self.of_file(torch.ones_like(media[:1])) > 0)

    def _part(self, n: int) -> tuple[int, int]:
        return math.floor(self.begin * n + 0.5), math.floor(self.end * n + 0.5)
