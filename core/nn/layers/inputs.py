"""What the blocks of a stage are told: level and conditions, at each position where levels differ."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .embedding import NumberEmbedding
from .resample import pool


class BlockInputs(NamedTuple):
    """The embedding of a stage, its padding, and the axes that are loops.

    row:     (B, *ones, E): embedding of conditions and of the sample's level (its first element's where levels differ)
    spread:  (B, *spatial, E): the embedding at each position; None: every sample has one level
    alike:   (B, 1, *spatial), True where all levels that a position covers equal the first element's: `row` holds there
    padding: (B, 1, *spatial), True where a position covers nothing that belongs to the sample; None: no padding
    wrap:    spatial axes that are loops
    """

    row: Tensor
    spread: Tensor | None = None
    alike: Tensor | None = None
    padding: Tensor | None = None
    wrap: tuple[int, ...] = ()

    def hide(self, x: Tensor) -> Tensor:
        """x (B, C, *spatial) with zeros in the padding, as a convolution pads: no neighbour sees what stands there."""
        return x if self.padding is None else x.masked_fill(self.padding, 0)


def for_stages(
    embed: NumberEmbedding,
    level: Tensor,
    conditions: Tensor | int,
    valid: Tensor | None,
    wrap: tuple[int, ...],
    dims: int,
    patch: int,
    stages: int,
) -> list[BlockInputs]:
    """One record a stage, finest first.

    Where levels differ, a position is told of all it covers (a patch, and blocks of 2^dims of those at every coarser
    stage) by the mean of their Fourier features, which the two linear layers then embed: the mean says how the levels
    are distributed, while a mean of the levels would be a level that none of them has. A position whose levels all
    equal the sample's first takes the row of that number, so a constant map is a number, bit for bit.

    level:      (B,) or (B, 1, *spatial), spatial a multiple of patch 2^(stages - 1)
    conditions: (B, E), or 0
    valid:      (B, 1, *spatial), 1 where an element belongs to the sample; None: everywhere
    """
    spatial = level if level.ndim > 1 else None
    first = level if spatial is None else level.flatten(1)[:, 0]
    row = F.silu(embed(first) + conditions)
    row = row.reshape(-1, *[1] * dims, row.shape[-1])
    shares = [None] * stages if valid is None else _halved(valid, patch, stages)
    paddings = [None if share is None else share == 0 for share in shares]
    if spatial is None:
        return [BlockInputs(row, padding=padding, wrap=wrap) for padding in paddings]
    other = spatial != first.reshape(-1, *[1] * (dims + 1))
    features = embed.fourier(spatial[:, 0]).movedim(-1, 1)  # (B, F, *spatial)
    if valid is not None:
        other, features = other & (valid > 0), features * valid
    added = conditions.reshape(-1, *[1] * dims, row.shape[-1]) if isinstance(conditions, Tensor) else conditions
    told = []
    mixed = zip(_halved(features, patch, stages), _halved(other.float(), patch, stages), shares, paddings, strict=True)
    for own, others, share, padding in mixed:
        mean = own if share is None else own / share.clamp(min=torch.finfo(own.dtype).tiny)
        spread = F.silu(embed.features(mean.movedim(1, -1)) + added)
        told.append(BlockInputs(row, spread, others == 0, padding, wrap))
    return told


def _halved(x: Tensor, patch: int, stages: int) -> list[Tensor]:
    """Means of x (B, C, *spatial) over patches, then over ever larger blocks of them, one tensor a stage."""
    made = [pool(x, patch)]
    for _ in range(stages - 1):
        made.append(pool(made[-1], 2))
    return made
