"""The residual block of the U-Nets, modulated by the embedding of level and conditions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .conv import Conv
from .dropout import Dropout
from .embedding import Linear
from .norm import GroupNorm, ModulatedNorm


class ResidualBlock(nn.Module):
    """x + conv(dropout(silu(film(norm(conv(silu(norm(x)))))))), film(h) = h (1 + scale) + shift from the embedding.

    FiLM is Perez et al. 2018 (arXiv:1709.07871); the last convolution starts at zero (Ho et al. 2020), so the block
    starts as the identity, or as a linear map where the number of channels changes.

    dims:    number of spatial axes
    c_in:    input channels
    c_out:   output channels
    width:   E, length of the embedding
    dropout: probability of dropping a feature before the second convolution
    """

    def __init__(self, dims: int, c_in: int, c_out: int, width: int, dropout: float = 0.0):
        super().__init__()
        self.norm1 = GroupNorm(c_in)
        self.conv1 = Conv(dims, c_in, c_out)
        self.film = Linear(width, 2 * c_out)
        self.norm2 = ModulatedNorm(c_out)
        self.dropout = Dropout(dropout)
        self.conv2 = Conv(dims, c_out, c_out, zero=True)
        self.skip = Conv(dims, c_in, c_out, kernel=1) if c_in != c_out else None

    def forward(self, x: Tensor, embedding: Tensor, wrap: tuple[int, ...] = ()) -> Tensor:
        """x (B, C_in, *spatial), embedding (B, *ones or *spatial, E) -> (B, C_out, *spatial)."""
        h = self.conv1(F.silu(self.norm1(x)), wrap)
        scale, shift = self.film(embedding).movedim(-1, 1).to(h.dtype).chunk(2, dim=1)
        h = F.silu(self.norm2(h, scale, shift))
        h = self.conv2(self.dropout(h), wrap)
        return h + (x if self.skip is None else self.skip(x))
