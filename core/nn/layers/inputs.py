"""Inputs of a stage's blocks in addition to the features: embedding of noise level and conditions, and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...types import Tokens
from .embedding import NumberEmbedding
from .resample import mean_pool


class BlockInputs(NamedTuple):
    """Embedding, padding and circular axes at one stage's resolution.

    Attributes:
        embedding: (B, *ones, E), embedding of the conditions and of the sample's noise level (of its first element, if
            levels differ).
        embedding_map: (B, *spatial, E), embedding at each position; None: every sample has one noise level.
        same: (B, 1, *spatial), True where all levels that a position covers equal that of the first element, so that
            `embedding` is used.
        padding: (B, 1, *spatial), True where a position covers no valid element of the sample; None: no padding.
        wrap: Spatial axes that are circular.
        tokens: What the positions attend to; None: nothing.
    """

    embedding: Tensor
    embedding_map: Tensor | None = None
    same: Tensor | None = None
    padding: Tensor | None = None
    wrap: tuple[int, ...] = ()
    tokens: Tokens | None = None

    def mask_padding(self, x: Tensor) -> Tensor:
        """Set x (B, C, *spatial) to zero in the padding, so that convolutions treat it like the border."""
        return x if self.padding is None else x.masked_fill(self.padding, 0)


def stage_inputs(
    embed: NumberEmbedding,
    level: Tensor,
    condition: Tensor | int,
    valid: Tensor | None,
    wrap: tuple[int, ...],
    dims: int,
    patch: int | Sequence[int],
    stages: int,
) -> list[BlockInputs]:
    """The inputs of every stage's blocks, finest stage first.

    If levels differ, a position covers several of them (a patch, and blocks of 2^dims positions at every coarser
    stage). The two linear layers then embed the mean of their Fourier features. This mean describes the distribution of
    the levels; the mean of the levels could be a level that none of the elements has. A position at which all levels
    equal the sample's first one uses the embedding of that number, so that a constant map gives the same result, bit
    for bit, as one number.

    Args:
        embed: Embedding of the noise level.
        level: (B,) or (B, 1, *spatial), each axis a multiple of its patch times 2^(stages - 1).
        condition: (B, E), the sum of the conditions' vectors, or 0.
        valid: (B, 1, *spatial), 1 for valid elements, 0 for padding; None: no padding.
        wrap: Spatial axes that are circular.
        dims: Number of spatial axes.
        patch: Elements that are folded into channels before the finest stage, along all axes or for each axis.
        stages: Number of resolutions.

    Returns:
        One record per stage.
    """
    level_map = level if level.ndim > 1 else None
    first = level if level_map is None else level.flatten(1)[:, 0]
    embedding = F.silu(embed(first) + condition)
    embedding = embedding.reshape(-1, *[1] * dims, embedding.shape[-1])
    shares = [None] * stages if valid is None else _stage_means(valid, patch, stages)
    paddings = [None if share is None else share == 0 for share in shares]
    if level_map is None:
        return [BlockInputs(embedding, padding=padding, wrap=wrap) for padding in paddings]
    differs = level_map != first.reshape(-1, *[1] * (dims + 1))
    features = embed.fourier(level_map[:, 0]).movedim(-1, 1)  # (B, F, *spatial)
    if valid is not None:
        differs, features = differs & (valid > 0), features * valid
    added = condition.reshape(-1, *[1] * dims, embedding.shape[-1]) if isinstance(condition, Tensor) else condition
    inputs = []
    means, others = _stage_means(features, patch, stages), _stage_means(differs.float(), patch, stages)
    for mean, other, share, padding in zip(means, others, shares, paddings, strict=True):
        mean = mean if share is None else mean / share.clamp(min=torch.finfo(mean.dtype).tiny)
        embedding_map = F.silu(embed.features(mean.movedim(1, -1)) + added)
        inputs.append(BlockInputs(embedding, embedding_map, other == 0, padding, wrap))
    return inputs


def _stage_means(x: Tensor, patch: int | Sequence[int], stages: int) -> list[Tensor]:
    """Means of x (B, C, *spatial) over the elements that a position covers, one tensor per stage."""
    means = [mean_pool(x, patch)]
    for _ in range(stages - 1):
        means.append(mean_pool(means[-1], 2))
    return means
