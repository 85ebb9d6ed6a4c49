"""What the blocks of a stage receive with their features: the embedding of level and conditions, and padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .embedding import NumberEmbedding
from .resample import pool


class BlockInputs(NamedTuple):
    """Embedding, padding and circular axes at one stage's resolution.

    Attributes:
        embedding: (B, *ones, E), of the conditions and of the sample's noise level (that of its first element where
            levels differ).
        embedding_map: (B, *spatial, E), the embedding at each position; None: every sample has one noise level.
        same: (B, 1, *spatial), True where all levels that a position covers equal the first element's: there
            `embedding` holds.
        padding: (B, 1, *spatial), True where a position covers no element of the sample; None: no padding.
        wrap: Spatial axes that are circular.
    """

    embedding: Tensor
    embedding_map: Tensor | None = None
    same: Tensor | None = None
    padding: Tensor | None = None
    wrap: tuple[int, ...] = ()

    def mask_padding(self, x: Tensor) -> Tensor:
        """x (B, C, *spatial) with zeros in the padding, so that convolutions treat it like the border."""
        return x if self.padding is None else x.masked_fill(self.padding, 0)


def stage_inputs(
    embed: NumberEmbedding,
    level: Tensor,
    condition: Tensor | int,
    valid: Tensor | None,
    wrap: tuple[int, ...],
    dims: int,
    patch: int,
    stages: int,
) -> list[BlockInputs]:
    """The inputs of every stage's blocks, finest stage first.

    Where levels differ, a position covers several of them (a patch, and blocks of 2^dims of those at every coarser
    stage). It gets the mean of their Fourier features, which the two linear layers then embed: that mean describes how
    the levels are distributed, while the mean of the levels would be a level that none of them has. A position whose
    levels all equal the sample's first takes the embedding of that number, so that a constant map gives, bit for bit,
    what the number gives.

    Args:
        embed: Embedding of the noise level.
        level: (B,) or (B, 1, *spatial), spatial a multiple of patch 2^(stages - 1).
        condition: (B, E), the sum of the conditions' vectors, or 0.
        valid: (B, 1, *spatial), 1 where an element belongs to the sample; None: everywhere.
        wrap: Spatial axes that are circular.
        dims: Number of spatial axes.
        patch: Elements along each axis that the finest stage folds into channels.
        stages: Number of resolutions.

    Returns:
        One record a stage.
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


def _stage_means(x: Tensor, patch: int, stages: int) -> list[Tensor]:
    """Means of x (B, C, *spatial) over patches, then over ever larger blocks of them, one tensor a stage."""
    made = [pool(x, patch)]
    for _ in range(stages - 1):
        made.append(pool(made[-1], 2))
    return made
