"""Min-SNR-gamma: weights of at most gamma in x0 space (Hang et al. 2023, arXiv:2303.09556, eq. 8)."""

from __future__ import annotations

import torch

from ...parameterizations.base import Parameterization
from ...types import BadInput, NoiseLevel, Number
from .base import Weighting, clamp_level


class MinSNR(Weighting):
    """The signal-to-noise ratio, limited to gamma, as the weight of an error in x0.

    min(SNR, gamma) with SNR = alpha^2 / sigma^2, converted to the loss space, is min(alpha^2, gamma sigma^2) /
    ((alpha^2 + sigma^2) gain^2). It is finite at both ends: in eps space min(1, gamma / SNR), in v space min(alpha^2,
    gamma sigma^2) / (alpha^2 + sigma^2)^2.

    Args:
        gamma: Largest weight of a squared error in x0.
    """

    def __init__(self, gamma: float = 5.0):
        if gamma <= 0:
            raise BadInput(f"min_snr's gamma is positive, not {gamma}")
        self.gamma = gamma

    def weight(self, level: NoiseLevel, parameterization: Parameterization) -> Number:
        level = clamp_level(level)
        data, noise = torch.as_tensor(level.alpha) ** 2, torch.as_tensor(level.sigma) ** 2
        return torch.minimum(data, self.gamma * noise) / ((data + noise) * parameterization.gain(level) ** 2)
