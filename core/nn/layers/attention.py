"""Attention (Vaswani et al. 2017, arXiv:1706.03762): over the positions of a sample, and to tokens such as a text's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...types import BadInput, Tokens
from .embedding import make_linear
from .norm import GroupNorm, RMSNorm


class Attention(nn.Module):
    """x + W softmax(q k^T / sqrt(d)) v over flattened positions, (B, C, *spatial) -> the same shape.

    It has no positional encoding, so it is equivariant to rolling the input.

    Args:
        channels: C.
        head_dim: Channels of each head; C must be a multiple of it.

    Raises:
        BadInput: `head_dim` does not divide `channels`.
    """

    def __init__(self, channels: int, head_dim: int = 32):
        super().__init__()
        self.heads = head_count(channels, head_dim)
        self.norm = GroupNorm(channels)
        self.qkv = make_linear(channels, 3 * channels)
        self.out = make_linear(channels, channels, zero=True)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """(B, C, *spatial) -> (B, C, *spatial); positions with `padding` (B, 1, *spatial) True are not attended to."""
        rows = self.norm(x, padding).flatten(2).transpose(1, 2)  # (B, N, C)
        q, k, v = self.qkv(rows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d)
        mixed = attend(q, k, v, None if padding is None else padding.flatten(1)).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).unflatten(2, x.shape[2:])


class CrossAttention(nn.Module):
    """W softmax(q k^T / sqrt(d)) v, queries from a sequence and keys and values from tokens: (B, N, C) -> (B, N, C).

    Queries and keys are normalised (Dehghani et al. 2023, arXiv:2302.05442). W is initialised to zero.

    Args:
        channels: C.
        width: E, width of a token.
        head_dim: Channels of each head; C must be a multiple of it.

    Raises:
        BadInput: `head_dim` does not divide `channels`.
    """

    def __init__(self, channels: int, width: int, head_dim: int = 32):
        super().__init__()
        self.heads = head_count(channels, head_dim)
        self.q = make_linear(channels, channels)
        self.kv = make_linear(width, 2 * channels)
        self.q_norm, self.k_norm = RMSNorm(head_dim), RMSNorm(head_dim)
        self.out = make_linear(channels, channels, zero=True)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        """x (B, N, C), tokens (B, L, E) -> (B, N, C); tokens whose mask is False are not attended to."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, d)
        k, v = self.kv(tokens.values).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, L, d)
        return self.out(attend(self.q_norm(q), self.k_norm(k), v, ~tokens.mask).transpose(1, 2).flatten(2))


class SpatialCrossAttention(nn.Module):
    """x + `CrossAttention` of the normalised positions of x to tokens, (B, C, *spatial) -> the same shape.

    Args:
        channels: C.
        width: E, width of a token.
        head_dim: Channels of each head; C must be a multiple of it.
    """

    def __init__(self, channels: int, width: int, head_dim: int = 32):
        super().__init__()
        self.norm = GroupNorm(channels)
        self.attention = CrossAttention(channels, width, head_dim)

    def forward(self, x: Tensor, tokens: Tokens, padding: Tensor | None = None) -> Tensor:
        """(B, C, *spatial) -> (B, C, *spatial); `padding` (B, 1, *spatial) is left out of the norm."""
        rows = self.norm(x, padding).flatten(2).transpose(1, 2)
        return x + self.attention(rows, tokens).transpose(1, 2).unflatten(2, x.shape[2:])


def head_count(channels: int, head_dim: int) -> int:
    """Number of heads of `head_dim` channels.

    Raises:
        BadInput: `head_dim` does not divide `channels`.
    """
    if channels % head_dim:
        raise BadInput(f"attention over {channels} channels needs a head_dim that divides them, not {head_dim}")
    return channels // head_dim


def attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over the keys that are not hidden.

    Args:
        q: (B, heads, N, d).
        k: (B, heads, M, d).
        v: (B, heads, M, d).
        hidden: (B, M), True for keys that are not attended to; None: none.

    Returns:
        (B, heads, N, d).
    """
    bias = None
    if hidden is not None:  # a finite bias, so that a row with only hidden keys does not give NaN
        keys = hidden[:, None, None]  # (B, 1, 1, M)
        bias = torch.zeros(keys.shape, dtype=q.dtype, device=q.device).masked_fill(keys, torch.finfo(q.dtype).min / 2)
    # In bfloat16 torch's fused CPU kernel is two to seven times slower than the three operations, as long as the N x M
    # weights fit into the cache. In all other cases it is faster and needs no N x M memory.
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and max(q.shape[2], k.shape[2]) <= 512:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return torch.softmax(scores if bias is None else scores + bias, dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
