"""Degradation: a random part is unknown, for inpainting and continuation (Saharia et al. 2021, arXiv:2111.05826)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from ..types import BadInput, MediaSpec
from ..util.annotations import Range
from .base import Degradation, DegradedMedia


class Mask(Degradation):
    """A box at a random place is unknown, or one end of the media.

    Args:
        spec: Media specification.
        end: Probability of an end instead of a box: all that follows a moment ("continuation"), or, of media without
            time, all beyond a line from one side to the other ("outpainting").
        share: Smallest and largest share of an axis that is unknown.

    Raises:
        BadInput: The shares are not in order.
    """

    masks = True

    def __init__(
        self, spec: MediaSpec, end: Annotated[float, Range(0, 1)] = 0.5, share: tuple[float, float] = (0.2, 0.7)
    ):
        if not 0 < share[0] <= share[1] <= 1:
            raise BadInput(f"mask.share is [smallest, largest] with 0 < smallest <= largest <= 1, not {list(share)}")
        self.end, self.share, self.time_axis = end, share, spec.time_axis

    def degrade(self, media: Tensor, rng: np.random.Generator) -> DegradedMedia:
        known = torch.ones(1, *media.shape[1:], dtype=torch.bool)
        known[(slice(None), *self._unknown(media.shape[1:], rng))] = False
        return DegradedMedia(media, known)

    def _unknown(self, size: Sequence[int], rng: np.random.Generator) -> list[slice]:
        """The unknown interval along each axis."""
        lengths = [max(1, round(n * rng.uniform(*self.share))) for n in size]
        if rng.random() >= self.end:
            starts = [int(rng.integers(n - length + 1)) for n, length in zip(size, lengths, strict=True)]
            return [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        axis = int(rng.integers(len(size))) if self.time_axis is None else self.time_axis
        last = axis == self.time_axis or rng.random() < 0.5
        parts = [slice(None)] * len(size)
        parts[axis] = slice(size[axis] - lengths[axis], None) if last else slice(lengths[axis])
        return parts
