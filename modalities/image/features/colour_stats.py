"""Features of a picture without trained weights: its colours, and how much they change from pixel to pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....core.types import BadInput


class ColourStats:
    """Mean, deviation and extremes of each channel, and its mean change along both axes at three scales.

    Args:
        scales: Number of scales; each halves the picture.
    """

    def __init__(self, scales: int = 3):
        if not 1 <= scales <= 8:
            raise BadInput(f"colour_stats.scales lies between 1 and 8; got {scales}")
        self.scales = scales

    def __call__(self, media: Sequence[Tensor]) -> np.ndarray:
        """Pictures (C, H, W) in [-1, 1] -> (N, (4 + 2 scales) C) float64."""
        return np.stack([self._one(picture.detach().cpu().double()) for picture in media])

    def _one(self, picture: Tensor) -> np.ndarray:
        flat = picture.flatten(1)
        found = [flat.mean(1), flat.std(1, unbiased=False), flat.amin(1), flat.amax(1)]
        for _ in range(self.scales):
            for axis in (1, 2):
                steps = picture.diff(dim=axis).abs()
                found.append(steps.mean((1, 2)) if steps.numel() else picture.new_zeros(len(picture)))
            picture = F.avg_pool2d(picture, 2, ceil_mode=True)
        return torch.cat(found).numpy()
