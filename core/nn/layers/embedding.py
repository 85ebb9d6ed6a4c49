"""Linear layers, and embeddings of numbers such as the noise level (one per sample, or one per position)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def make_linear(c_in: int, c_out: int, zero: bool = False) -> nn.Linear:
    """An `nn.Linear` that does not use torch's global generator: its weights are zero until `init.reset_parameters`.

    Args:
        c_in: Input features.
        c_out: Output features.
        zero: Initial weights are zero.

    Returns:
        A module (..., c_in) -> (..., c_out), y = x W^T + b.
    """
    device = torch.get_default_device()
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, c_in, c_out, device=device)  # type: ignore[assignment]
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.zero = zero  # type: ignore[assignment]  # read by init.reset_parameters
    return layer


class EmbeddingTable(nn.Embedding):
    """`nn.Embedding` whose rows are drawn by the module that owns it (a condition), not by `init.reset_parameters`.

    Args:
        count: Number of rows.
        width: Length of a row.
    """

    def reset_parameters(self) -> None:
        """Set the rows to zero; the owner draws them."""
        nn.init.zeros_(self.weight)

    def init_weights(self, rng: np.random.Generator) -> None:
        """Does nothing: the owner draws the rows."""


class FourierFeatures(nn.Module):
    """Fourier features of a number, of unit variance: sqrt(2) [cos(2 pi f u), sin(2 pi f u)].

    The frequencies f are a geometric series (Tancik et al. 2020, arXiv:2006.10739).

    Args:
        features: Number of features, even.
        slowest: Lowest frequency, in periods per unit of u.
        fastest: Highest frequency.
    """

    frequencies: Tensor

    def __init__(self, features: int, slowest: float = 1 / 32, fastest: float = 4.0):
        super().__init__()
        ends, count = (math.log(slowest), math.log(fastest)), features // 2
        octaves = torch.linspace(*ends, count, dtype=torch.float64, device="cpu")  # also in a network without values
        self.register_buffer("frequencies", (2 * math.pi * octaves.exp()).float(), persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """u (...) -> (..., features), float32."""
        phase = u.float().unsqueeze(-1) * self.frequencies
        return torch.cat([phase.cos(), phase.sin()], dim=-1) * math.sqrt(2)


class NumberEmbedding(nn.Module):
    """A number -> a vector: Fourier features, then two linear layers with a SiLU between. Always float32.

    Args:
        features: Number of Fourier features.
        width: E, length of the vector.
        slowest: Lowest frequency of the features.
        fastest: Highest frequency.
    """

    def __init__(self, features: int, width: int, slowest: float = 1 / 32, fastest: float = 4.0):
        super().__init__()
        self.fourier = FourierFeatures(features, slowest, fastest)
        self.first = make_linear(features, width)
        self.second = make_linear(width, width)

    def forward(self, u: Tensor) -> Tensor:
        """u (...) -> (..., E)."""
        return self.features(self.fourier(u))

    def features(self, features: Tensor) -> Tensor:
        """Fourier features (..., F) -> (..., E). The mean of the features of several numbers embeds all of them."""
        # bfloat16 cannot resolve the noise level.
        with torch.autocast(features.device.type, enabled=False):
            return self.second(F.silu(self.first(features)))
