"""Degradation: white noise, for denoising."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..types import BadInput
from .base import Degradation, DegradedMedia


class Noise(Degradation):
    """White normal noise is added. A user's file has noise already, and is left as it is.

    Args:
        level: Smallest and largest standard deviation of the noise, in units of full scale.

    Raises:
        BadInput: The levels are not in order.
    """

    def __init__(self, level: tuple[float, float] = (0.05, 0.3)):
        if not 0 < level[0] <= level[1]:
            raise BadInput(f"noise.level is [smallest, largest] with 0 < smallest <= largest, not {list(level)}")
        self.level = level

    def degrade(self, media: Tensor, rng: np.random.Generator) -> DegradedMedia:
        noise = torch.from_numpy(rng.standard_normal(tuple(media.shape), dtype=np.float32))
        return DegradedMedia(media + rng.uniform(*self.level) * noise.to(media))
