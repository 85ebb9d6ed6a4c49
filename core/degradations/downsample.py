"""Degradation: a lower resolution, for super-resolution (Saharia et al. 2021, "SR3", arXiv:2104.07636)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..types import BadInput, MediaSpec
from ..util.annotations import Range
from .base import Degradation, DegradedMedia


class Downsample(Degradation):
    """Every block of `factor` elements along each axis becomes its mean.

    Args:
        spec: Media specification.
        factor: Elements of a block along each axis.

    Raises:
        BadInput: An axis is shorter than a block.
    """

    def __init__(self, spec: MediaSpec, factor: Annotated[int, Range(2, 1024)] = 4):
        if factor > min(spec.size):
            raise BadInput(f"downsample.factor is {factor}, and the media have only {min(spec.size)} elements")
        self.factor = factor

    def degrade(self, media: Tensor, rng: np.random.Generator) -> DegradedMedia:
        return DegradedMedia(self.of_file(media))

    def of_file(self, media: Tensor) -> Tensor:
        size = media.shape[1:]
        blocks = [max(1, -(-n // self.factor)) for n in size]
        return F.interpolate(F.interpolate(media[None], size=blocks, mode="area"), size=size, mode="nearest")[0]
