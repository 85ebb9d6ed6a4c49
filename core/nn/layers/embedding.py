"""How the noise level, one number a sample or one a position, becomes the vector that modulates every block."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .init import fan_in_


class Linear(nn.Module):
    """y = x W^T + b over the last axis.

    c_in:  input features
    c_out: output features
    zero:  start at zero
    """

    def __init__(self, c_in: int, c_out: int, zero: bool = False):
        super().__init__()
        self.zero = zero
        self.weight = nn.Parameter(torch.zeros(c_out, c_in))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def fill(self, rng: np.random.Generator) -> None:
        """Initial weights: variance 1 / fan_in, or zero."""
        fan_in_(self.weight, rng, 0.0 if self.zero else 1.0)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., c_in) -> (..., c_out)."""
        return F.linear(x, self.weight, self.bias)


class Fourier(nn.Module):
    """sqrt(2) [cos(2 pi f u), sin(2 pi f u)] for frequencies f in a geometric series, unit variance (..., features).

    features: number of features, even
    slowest:  lowest frequency, in periods per unit of u
    fastest:  highest frequency
    """

    frequencies: Tensor

    def __init__(self, features: int, slowest: float = 1 / 32, fastest: float = 4.0):
        super().__init__()
        octaves = torch.linspace(math.log(slowest), math.log(fastest), features // 2, dtype=torch.float64)
        self.register_buffer("frequencies", (2 * math.pi * octaves.exp()).float(), persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """u (...) -> (..., features), float32."""
        phase = u.float().unsqueeze(-1) * self.frequencies
        return torch.cat([phase.cos(), phase.sin()], dim=-1) * math.sqrt(2)


class NumberEmbedding(nn.Module):
    """A number -> a vector: Fourier features, then two linear layers with a SiLU between. Always float32.

    features: Fourier features
    width:    E, length of the vector
    """

    def __init__(self, features: int, width: int, slowest: float = 1 / 32, fastest: float = 4.0):
        super().__init__()
        self.fourier = Fourier(features, slowest, fastest)
        self.first = Linear(features, width)
        self.second = Linear(width, width)

    def forward(self, u: Tensor) -> Tensor:
        """u (...) -> (..., E)."""
        return self.features(self.fourier(u))

    def features(self, features: Tensor) -> Tensor:
        """Fourier features (..., F) -> (..., E); of several numbers at once where the features are a mean of theirs."""
        # A level lies on a scale that bfloat16 cannot resolve.
        with torch.autocast(features.device.type, enabled=False):
            return self.second(F.silu(self.first(features)))
