"""A small transformer over the tokens of a text (Vaswani et al. 2017), with layer norm before each part.

Each layer begins with a convolution along the text (Gulati et al. 2020, arXiv:2005.08100): what belongs together in a
caption is mostly next to each other, "small red circle", and a network that is trained for minutes learns it from a
convolution much sooner than from attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...nn.layers.conv import make_conv
from ...nn.layers.embedding import make_linear
from ...types import BadInput, Tokens, move_like

_REACH = 5  # tokens that the convolution of a layer sees
_SLOWEST = 10_000.0  # the period of the slowest position feature is 2 pi times this number of tokens


class TokenTransformer(nn.Module):
    """(B, L, hidden) -> (B, L, width). Tokens are added to sinusoids of their positions, so that L has no limit.

    Args:
        hidden: Width of the layers, a multiple of `heads`, and even.
        layers: Number of layers.
        width: E, width of the output, of about unit variance.
        heads: Number of attention heads.

    Raises:
        BadInput: The width is no multiple of the number of heads.
    """

    def __init__(self, hidden: int, layers: int, width: int, heads: int = 4):
        super().__init__()
        if hidden < 1 or hidden % (2 * heads) or layers < 1:
            raise BadInput(f"a text encoder has one layer or more, and a width that is a multiple of {2 * heads}")
        self.hidden = hidden
        self.layers = nn.ModuleList(_Layer(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.out = make_linear(hidden, width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tokens:
        """Tokens (B, L, hidden) with their mask (B, L); padding has no effect, and is zero in the result."""
        x = tokens + move_like(_positions(tokens.shape[1], self.hidden), tokens)
        for layer in self.layers:
            x = layer(x, mask)
        return Tokens(self.out(self.norm(x)).masked_fill(~mask[..., None], 0), mask)


class _Layer(nn.Module):
    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        self.first_norm = nn.LayerNorm(hidden)
        self.near = make_conv(1, hidden, hidden, _REACH)
        self.norm = nn.LayerNorm(hidden)
        self.qkv = make_linear(hidden, 3 * hidden)
        self.mix = make_linear(hidden, hidden)
        self.second_norm = nn.LayerNorm(hidden)
        self.up = make_linear(hidden, 4 * hidden)
        self.down = make_linear(4 * hidden, hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        given = self.first_norm(x).masked_fill(~mask[..., None], 0)
        x = x + self.near(given.transpose(1, 2)).transpose(1, 2)
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, L, d)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = x + self.mix(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second_norm(x))))


def _positions(length: int, hidden: int) -> Tensor:
    """sin and cos of the position at geometric frequencies, (L, hidden) (Vaswani et al. 2017, section 3.5)."""
    count = hidden // 2
    frequencies = _SLOWEST ** (-torch.arange(count, dtype=torch.float64, device="cpu") / count)
    phase = torch.arange(length, dtype=torch.float64, device="cpu")[:, None] * frequencies
    return torch.cat([phase.sin(), phase.cos()], dim=-1)
