"""Self-attention (Vaswani et al. 2017) without positional encoding: equivariant to rolling the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...types import BadInput
from .embedding import make_linear
from .norm import GroupNorm


class Attention(nn.Module):
    """x + W softmax(q k^T / sqrt(d)) v over flattened positions, (B, C, *spatial) -> the same shape.

    Args:
        channels: C.
        head_dim: Channels of each head; C must be a multiple of it.

    Raises:
        BadInput: `head_dim` does not divide `channels`.
    """

    def __init__(self, channels: int, head_dim: int = 32):
        super().__init__()
        if channels % head_dim:
            raise BadInput(f"attention over {channels} channels needs a head_dim that divides them, not {head_dim}")
        self.heads = channels // head_dim
        self.norm = GroupNorm(channels)
        self.qkv = make_linear(channels, 3 * channels)
        self.out = make_linear(channels, channels, zero=True)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """(B, C, *spatial) -> (B, C, *spatial); positions with `padding` (B, 1, *spatial) True are not attended to."""
        tokens = self.norm(x, padding).flatten(2).transpose(1, 2)  # (B, N, C)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d)
        mixed = _attend(q, k, v, padding).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).unflatten(2, x.shape[2:])


def _attend(q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for (B, heads, N, d), over the keys that are not padding (B, 1, *spatial)."""
    bias = None
    if padding is not None:  # a finite bias, so that a row with only padding does not give NaN
        keys = padding.flatten(2)[:, :, None]  # (B, 1, 1, N)
        bias = torch.zeros(keys.shape, dtype=q.dtype, device=q.device).masked_fill(keys, torch.finfo(q.dtype).min / 2)
    # In bfloat16 torch's fused CPU kernel is two to seven times slower than the three operations, as long as the N x N
    # weights fit into the cache. In all other cases it is faster and needs no N x N memory.
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[2] <= 512:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return torch.softmax(scores if bias is None else scores + bias, dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
