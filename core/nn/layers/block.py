"""The residual block of the U-Nets, modulated by the embedding of noise level and conditions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import make_conv
from .dropout import Dropout
from .embedding import make_linear
from .inputs import BlockInputs
from .norm import GroupNorm, ModulatedNorm


class ResidualBlock(nn.Module):
    """x + conv(dropout(silu(film(norm(conv(silu(norm(x)))))))), film(h) = h (1 + scale) + shift from the embedding.

    FiLM: Perez et al. 2018 (arXiv:1709.07871). The last convolution is initialised to zero (Ho et al. 2020), so that
    the block is initially the identity, or a linear map if the number of channels changes.

    Args:
        dims: Number of spatial axes.
        c_in: Input channels.
        c_out: Output channels.
        width: E, length of the embedding.
        dropout: Probability of dropping a feature before the second convolution.
    """

    def __init__(self, dims: int, c_in: int, c_out: int, width: int, dropout: float = 0.0):
        super().__init__()
        self.norm1 = GroupNorm(c_in)
        self.conv1 = make_conv(dims, c_in, c_out)
        self.film = make_linear(width, 2 * c_out)
        self.norm2 = ModulatedNorm(c_out)
        self.dropout = Dropout(dropout)
        self.conv2 = make_conv(dims, c_out, c_out, zero=True)
        self.skip = make_conv(dims, c_in, c_out, kernel=1) if c_in != c_out else None

    def forward(self, x: Tensor, inputs: BlockInputs) -> Tensor:
        """x (B, C_in, *spatial) -> (B, C_out, *spatial)."""
        h = self.conv1(inputs.mask_padding(F.silu(self.norm1(x, inputs.padding))), inputs.wrap)
        h = F.silu(self._modulated(h, inputs))
        h = self.conv2(inputs.mask_padding(self.dropout(h)), inputs.wrap)
        return h + (x if self.skip is None else self.skip(x))

    def _modulated(self, h: Tensor, inputs: BlockInputs) -> Tensor:
        """norm2 with the sample's scale and shift, or with those of each position if its noise level differs."""
        uniform = self.norm2(h, *self._film(inputs.embedding, h), inputs.padding)
        if inputs.embedding_map is None or inputs.same is None:
            return uniform
        return torch.where(inputs.same, uniform, self.norm2(h, *self._film(inputs.embedding_map, h), inputs.padding))

    def _film(self, embedding: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, (B, C_out, *ones or *spatial), from the embedding (B, *ones or *spatial, E)."""
        scale, shift = self.film(embedding).movedim(-1, 1).to(h.dtype).chunk(2, dim=1)
        return scale, shift
