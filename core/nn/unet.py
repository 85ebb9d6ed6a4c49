"""The N-dimensional U-Net (Ronneberger et al. 2015; Ho et al. 2020) on which the modalities' networks are built."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..types import BadInput
from .layers.attention import Attention, SpatialCrossAttention
from .layers.block import ResidualBlock
from .layers.conv import make_conv
from .layers.init import reset_parameters
from .layers.inputs import BlockInputs
from .layers.norm import GroupNorm
from .layers.resample import Downsample, Upsample
from .layers.rotary import rotation_at
from .layers.transformer_block import SequenceInputs, TransformerBlock
from .spatial import SpatialNetwork, check_at_least_one


class _Stage(nn.Module):
    """Residual blocks at one resolution; after the last, attention to the other positions and to tokens."""

    def __init__(
        self,
        dims: int,
        c_in: int,
        c_out: int,
        width: int,
        blocks: int,
        dropout: float,
        head_dim: int | None,
        cross_head_dim: int | None,
    ):
        super().__init__()
        inputs = [c_in] + [c_out] * (blocks - 1)
        self.blocks = nn.ModuleList(ResidualBlock(dims, c, c_out, width, dropout) for c in inputs)
        self.attention = Attention(c_out, head_dim) if head_dim else None
        self.cross = SpatialCrossAttention(c_out, width, cross_head_dim) if cross_head_dim else None

    def forward(self, x: Tensor, inputs: BlockInputs) -> Tensor:
        for block in self.blocks:
            x = block(x, inputs)
        if self.attention is not None:
            x = self.attention(x, inputs.padding)
        if self.cross is not None and inputs.tokens is not None:
            x = self.cross(x, inputs.tokens, inputs.padding)
        return x


class UNetND(SpatialNetwork):
    """A U-Net with one to three spatial axes; it accepts any size by internal padding and cropping.

    Each resolution has a stage of residual blocks in the encoder and one in the decoder, joined by a skip connection;
    the coarsest has one stage. Noise level and conditions modulate every block by scale and shift. The output is
    initialised to zero. Transformer blocks at the coarsest resolution (Hoogeboom et al. 2023, arXiv:2301.11093) see the
    whole sample at small cost: they serve texts that say where things are.

    Args:
        dims: Number of spatial axes, 1 to 3.
        channels: C of input and output.
        width: Channels at multiplier 1.
        stages: Channel multipliers, finest resolution first; each stage halves the resolution of the previous one.
        blocks: Residual blocks per stage.
        attention: Numbers of the stages with self-attention (0 is the finest).
        head_dim: Channels of an attention head.
        dropout: Probability of dropping a feature inside a block.
        patch: Elements that are folded into channels before the first convolution: one number, or one for each axis.
        skip_scale: Factor on the skip connections before they are concatenated.
        places: Size along each axis in training, which `positions` refer to; () without positions.
        positions: Number of octaves of the absolute position features, see `_positions`: one number, or one for each
            axis; 0: none.
        cross_attention: Numbers of the stages that attend to tokens; (): the network accepts no tokens.
        transformer: Number of transformer blocks after the coarsest stage; they attend to tokens if any stage does.
        concat: Number of channels of conditions that follow those of x in the input.

    Raises:
        BadInput: An option is out of range.
    """

    kinds_by_option: ClassVar[Mapping[str, tuple[str, str]]] = {"tokens": ("cross_attention", "[1]")}

    def __init__(
        self,
        dims: int,
        channels: int,
        width: int = 64,
        stages: Sequence[int] = (1, 2),
        blocks: int = 2,
        attention: Sequence[int] = (),
        head_dim: int = 32,
        dropout: float = 0.0,
        patch: int | Sequence[int] = 1,
        skip_scale: float = 1.0,
        places: Sequence[int] = (),
        positions: int | Sequence[int] = 0,
        cross_attention: Sequence[int] = (),
        transformer: int = 0,
        concat: int = 0,
    ):
        _check(width, stages, blocks, {"attention": attention, "cross_attention": cross_attention}, head_dim)
        _check_transformer(transformer, head_dim, dims)
        e, sizes = 2 * width, [width * m for m in stages]
        super().__init__(dims, channels, e, patch, len(stages), places, positions, bool(cross_attention), concat)
        self.skip_scale = skip_scale
        heads = [
            tuple(head_dim if i in some else None for some in (attention, cross_attention)) for i in range(len(sizes))
        ]
        self.stem = make_conv(dims, self.folded_input, sizes[0])
        self.down = nn.ModuleList(_Stage(dims, c, c, e, blocks, dropout, *h) for c, h in zip(sizes, heads, strict=True))
        self.shrink = nn.ModuleList(Downsample(dims, a, b) for a, b in itertools.pairwise(sizes))
        self.head_dim = head_dim
        self.transformer = nn.ModuleList(
            TransformerBlock(sizes[-1], e, head_dim, dropout, bool(cross_attention)) for _ in range(transformer)
        )
        self.grow = nn.ModuleList(Upsample(dims, b, a) for a, b in itertools.pairwise(sizes))
        self.up = nn.ModuleList(
            _Stage(dims, 2 * c, c, e, blocks, dropout, *h) for c, h in zip(sizes[:-1], heads[:-1], strict=True)
        )
        self.norm = GroupNorm(sizes[0])
        self.head = make_conv(dims, sizes[0], self.folded, zero=True)
        reset_parameters(self, 0)

    def _body(self, x: Tensor, inputs: list[BlockInputs]) -> Tensor:
        finest, wrap = inputs[0], inputs[0].wrap
        x, skips = self.stem(finest.mask_padding(x), wrap), []
        for i, stage in enumerate(self.down):
            x = stage(x, inputs[i])
            if i < len(self.shrink):
                skips.append(x * self.skip_scale if self.skip_scale != 1 else x)
                x = self.shrink[i](inputs[i].mask_padding(x))
        x = self._transform(x, inputs[-1])
        for i in reversed(range(len(self.up))):
            x = self.up[i](torch.cat([self.grow[i](x), skips.pop()], dim=1), inputs[i])
        return self.head(finest.mask_padding(F.silu(self.norm(x, finest.padding))), wrap)

    def _transform(self, x: Tensor, inputs: BlockInputs) -> Tensor:
        """The transformer blocks, on the positions of the coarsest resolution as a sequence."""
        if not self.transformer:
            return x
        grid = x.shape[2:]
        at = SequenceInputs.flattened(inputs, rotation_at(grid, self.head_dim, inputs.wrap, x))
        rows = x.flatten(2).transpose(1, 2)  # (B, N, C)
        for block in self.transformer:
            rows = block(rows, at)
        return rows.transpose(1, 2).unflatten(2, grid)


def _check(width: int, stages: Sequence[int], blocks: int, chosen: dict[str, Sequence[int]], head_dim: int) -> None:
    for name, limit, value in (("width", 2**14, width), ("blocks", 64, blocks), ("head_dim", 2**14, head_dim)):
        check_at_least_one(name, limit, [value])
    if not 1 <= len(stages) <= 12 or not all(1 <= m <= 64 for m in stages):
        raise BadInput(f"stages are 1 to 12 channel multipliers from 1 to 64, one a resolution, not {list(stages)}")
    for name, some in chosen.items():
        if wrong := [i for i in some if not 0 <= i < len(stages)]:
            raise BadInput(f"{name} names stages 0 (finest) to {len(stages) - 1}, not {wrong}")


def _check_transformer(blocks: int, head_dim: int, dims: int) -> None:
    if blocks and (head_dim % 2 or head_dim < 2 * dims):
        raise BadInput(f"transformer needs an even head_dim of at least {2 * dims}, not {head_dim}")
    if not 0 <= blocks <= 64:
        raise BadInput(f"transformer is a number of blocks from 0 to 64, not {blocks}")
