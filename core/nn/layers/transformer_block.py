"""The block of the diffusion transformers, modulated by the embedding of noise level and conditions (adaLN-Zero)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...types import Tokens
from .attention import CrossAttention, attend, head_count
from .dropout import Dropout
from .embedding import make_linear
from .inputs import BlockInputs
from .norm import RMSNorm
from .rotary import Rotation, rotate


class SequenceInputs(NamedTuple):
    """Inputs of a transformer's blocks in addition to the features; N patches in row-major order.

    Attributes:
        embedding: (B, 1, E), as in `BlockInputs`.
        embedding_map: (B, N, E); None: every sample has one noise level.
        same: (B, N, 1), True where `embedding` is used.
        padding: (B, N), True for patches without a valid element; None: no padding.
        rotation: Rotary positions of the patches.
        tokens: What the patches attend to; None: nothing.
    """

    embedding: Tensor
    embedding_map: Tensor | None
    same: Tensor | None
    padding: Tensor | None
    rotation: Rotation
    tokens: Tokens | None

    @staticmethod
    def flattened(inputs: BlockInputs, rotation: Rotation) -> SequenceInputs:
        """The inputs of a grid of positions as those of a sequence."""
        embedding, of_map, same, padding = inputs.embedding, inputs.embedding_map, inputs.same, inputs.padding
        return SequenceInputs(
            embedding.reshape(embedding.shape[0], 1, -1),
            None if of_map is None else of_map.flatten(1, -2),
            None if same is None else same.flatten(1)[..., None],
            None if padding is None else padding.flatten(1),
            rotation,
            inputs.tokens,
        )


class Modulation(nn.Module):
    """Scales, shifts and gates from the embedding by one linear layer that is initialised to zero.

    Args:
        embedding: E, length of the embedding.
        width: W, length of each result.
        count: Number of results.
    """

    def __init__(self, embedding: int, width: int, count: int):
        super().__init__()
        self.count = count
        self.linear = make_linear(embedding, count * width, zero=True)

    def forward(self, inputs: SequenceInputs) -> tuple[Tensor, ...]:
        """`count` tensors (B, 1, W); (B, N, W) if noise levels differ within a sample."""
        values = self.linear(inputs.embedding)
        if inputs.embedding_map is not None and inputs.same is not None:
            values = torch.where(inputs.same, values, self.linear(inputs.embedding_map))
        return values.chunk(self.count, dim=-1)


class TransformerBlock(nn.Module):
    """Self-attention, attention to tokens, and a feed-forward network, each added to x (B, N, W).

    x + g1 attention(norm(x) (1 + s1) + b1), then x + cross_attention(norm(x), tokens), then x + g2 swiglu(norm(x) (1 +
    s2) + b2). Scales s, shifts b and gates g follow from the embedding and are 0 at first, so that the block is the
    identity (adaLN-Zero: Peebles & Xie 2023, arXiv:2212.09748). Queries and keys are normalised (Dehghani et al. 2023,
    arXiv:2302.05442) and rotated (see `rotary`). SwiGLU: Shazeer 2020, arXiv:2002.05202; RMS norm: Zhang & Sennrich
    2019, arXiv:1910.07467.

    Args:
        width: W.
        embedding: E, length of the embedding and of a token.
        head_dim: Channels of an attention head.
        dropout: Probability of dropping a hidden feature of the feed-forward network.
        cross_attention: Whether the block attends to tokens.
    """

    def __init__(self, width: int, embedding: int, head_dim: int, dropout: float = 0.0, cross_attention: bool = False):
        super().__init__()
        hidden = 32 * math.ceil(width / 12)  # 8 W / 3: as many weights as two layers with 4 W hidden features
        self.heads = head_count(width, head_dim)
        self.modulation = Modulation(embedding, width, 6)
        self.norm1, self.norm2 = RMSNorm(width, affine=False), RMSNorm(width, affine=False)
        self.qkv = make_linear(width, 3 * width)
        self.q_norm, self.k_norm = RMSNorm(head_dim), RMSNorm(head_dim)
        self.out = make_linear(width, width)
        self.cross_norm = RMSNorm(width) if cross_attention else None
        self.cross = CrossAttention(width, embedding, head_dim) if cross_attention else None
        self.expand = make_linear(width, 2 * hidden)
        self.dropout = Dropout(dropout)
        self.contract = make_linear(hidden, width)

    def forward(self, x: Tensor, inputs: SequenceInputs) -> Tensor:
        """x (B, N, W) -> (B, N, W)."""
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(inputs)
        x = x + gate1 * self._attention(self.norm1(x) * (1 + scale1) + shift1, inputs)
        if self.cross is not None and self.cross_norm is not None and inputs.tokens is not None:
            x = x + self.cross(self.cross_norm(x), inputs.tokens)
        return x + gate2 * self._feed_forward(self.norm2(x) * (1 + scale2) + shift2)

    def _attention(self, x: Tensor, inputs: SequenceInputs) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d)
        q, k = rotate(self.q_norm(q), inputs.rotation), rotate(self.k_norm(k), inputs.rotation)
        return self.out(attend(q, k, v, inputs.padding).transpose(1, 2).flatten(2))

    def _feed_forward(self, x: Tensor) -> Tensor:
        gate, value = self.expand(x).chunk(2, dim=-1)
        return self.contract(self.dropout(F.silu(gate) * value))
