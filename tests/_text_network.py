"""A tiny network that takes vectors and tokens, for tests of text conditions, and a recipe that uses it."""

from pathlib import Path

import torch
import torch.nn.functional as F
from sonolux.core.nn.layers.conv import make_conv
from sonolux.core.nn.layers.embedding import NumberEmbedding, make_linear
from sonolux.core.nn.layers.init import reset_parameters
from sonolux.core.types import MediaSpec
from torch import nn


class TokenNetwork(nn.Module):
    """One convolution before and after attention of each position to the tokens.

    Args:
        spec: Media specification with the shape of the diffused tensor.
        width: Number of features.
    """

    accepts = frozenset({"vector", "tokens"})
    factor, positions = 1, 0

    def __init__(self, spec: MediaSpec, width: int = 16):
        super().__init__()
        dims = len(spec.latent) - 1
        self.embedding_width = width
        self.level = NumberEmbedding(16, width)
        self.first, self.last = make_conv(dims, spec.latent[0], width), make_conv(dims, width, spec.latent[0])
        self.query, self.key = make_linear(width, width), make_linear(width, width)
        reset_parameters(self, 0)

    def forward(self, x, level, conditions):
        first = level if level.ndim == 1 else level.flatten(1)[:, 0]
        added = self.level(first) + sum(conditions.vector.values())
        h = F.silu(self.first(x) + added.reshape(*added.shape, *[1] * (x.ndim - 2)))
        q = self.query(h.flatten(2).transpose(1, 2))
        for values, mask in conditions.tokens.values():
            found = F.scaled_dot_product_attention(q, self.key(values).to(q), values.to(q), attn_mask=mask[:, None])
            h = h + found.transpose(1, 2).unflatten(2, h.shape[2:])
        return self.last(torch.tanh(h))


NETWORK = f"{Path(__file__).resolve()}:TokenNetwork"

RECIPE = f"""
recipe: 1
name: captioned
seed: 3
modality: {{use: image, size: 16, channels: 3}}
data: {{use: image/shapes, count: 40, shapes: 1, split: {{by: hash, valid: 0.2}}}}
codec: {{use: image/pixels}}
network: {{use: "{NETWORK}"}}
conditioning:
  caption: {{use: text, drop: 0.3, word_drop: 0.2, length: 40, encoder: {{use: bytes, hidden: 16, layers: 1}}}}
train: {{steps: 4, batch: 6, warmup: 1, save_every: 2, preview_every: 100, precision: float32, device: cpu}}
sample: {{use: dpmpp_2m, steps: 3, count: 4, batch: 3, guidance: {{use: cfg, scale: 2.0}}}}
"""
