"""The N-dimensional U-Net (Ronneberger et al. 2015; Ho et al. 2020) on which the modalities' networks are built."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..types import BadInput, Conditioning
from .layers.attention import Attention
from .layers.block import ResidualBlock
from .layers.conv import make_conv, pad_axes
from .layers.embedding import NumberEmbedding
from .layers.init import reset_parameters
from .layers.inputs import BlockInputs, stage_inputs
from .layers.norm import GroupNorm
from .layers.resample import Downsample, Upsample, channels_to_space, per_axis, space_to_channels


class _Stage(nn.Module):
    """Residual blocks at one resolution, with attention after the last."""

    def __init__(self, dims: int, c_in: int, c_out: int, width: int, blocks: int, dropout: float, head_dim: int | None):
        super().__init__()
        inputs = [c_in] + [c_out] * (blocks - 1)
        self.blocks = nn.ModuleList(ResidualBlock(dims, c, c_out, width, dropout) for c in inputs)
        self.attention = Attention(c_out, head_dim) if head_dim else None

    def forward(self, x: Tensor, inputs: BlockInputs) -> Tensor:
        for block in self.blocks:
            x = block(x, inputs)
        return x if self.attention is None else self.attention(x, inputs.padding)


class UNetND(nn.Module):
    """A U-Net with one to three spatial axes; it accepts any size by internal padding and cropping.

    Each resolution has a stage of residual blocks in the encoder and one in the decoder, joined by a skip connection;
    the coarsest has one stage. Noise level and conditions modulate every block by scale and shift. The output is
    initialised to zero.

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

    Attributes:
        accepts: Kinds of conditioning that it accepts, see `Conditioning`.
        embedding_width: E, length of a condition's vector.
        factor: A multiple along every axis of the elements that one position of the coarsest stage covers.
        positions: The largest number of octaves of an axis; 0: the network does not know where an element is.

    Raises:
        BadInput: An option is out of range.
    """

    accepts = frozenset({"vector"})

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
    ):
        super().__init__()
        patches, octaves = per_axis(patch, dims), per_axis(positions, dims)
        _check(width, stages, blocks, attention, patches, head_dim)
        if len(patches) != dims:
            raise BadInput(f"patch is one number, or one for each of the {dims} axes; got {list(patches)}")
        if not all(0 <= n <= 64 for n in octaves) or (any(octaves) and not len(octaves) == len(places) == dims):
            raise BadInput(
                f"positions is a number of octaves, 0 to 64, and needs a size for each axis; got {positions}"
            )
        self.dims, self.channels, self.patch, self.skip_scale = dims, channels, patches, skip_scale
        self.embedding_width = 2 * width
        self._factors = [p * 2 ** (len(stages) - 1) for p in patches]
        self.factor = math.lcm(*self._factors)
        sizes = [width * m for m in stages]
        heads = [head_dim if i in attention else None for i in range(len(sizes))]
        e, folded = self.embedding_width, channels * math.prod(patches)
        self.places, self.octaves, self.positions = tuple(places), octaves, max(octaves, default=0)

        self.level = NumberEmbedding(64, e)
        self.stem = make_conv(dims, folded + sum(octaves), sizes[0])
        self.down = nn.ModuleList(_Stage(dims, c, c, e, blocks, dropout, h) for c, h in zip(sizes, heads, strict=True))
        self.shrink = nn.ModuleList(Downsample(dims, a, b) for a, b in itertools.pairwise(sizes))
        self.grow = nn.ModuleList(Upsample(dims, b, a) for a, b in itertools.pairwise(sizes))
        self.up = nn.ModuleList(
            _Stage(dims, 2 * c, c, e, blocks, dropout, h) for c, h in zip(sizes[:-1], heads[:-1], strict=True)
        )
        self.norm = GroupNorm(sizes[0])
        self.head = make_conv(dims, sizes[0], folded, zero=True)
        reset_parameters(self, 0)

    def forward(self, x: Tensor, level: Tensor, conditions: Conditioning | None = None) -> Tensor:
        """The network's output.

        Along a wrapped axis the network is equivariant to rolling the input, exactly if the size is a multiple of
        `factor`. Elements with `conditions.valid` 0 are ignored: neither their values nor their number change the other
        elements, and the output there has no meaning. `stage_inputs` describes how a map of levels is used.

        Args:
            x: (B, C, *spatial).
            level: The noise conditioning's number, (B,) or a map (B, 1, *spatial).
            conditions: Vectors of the conditions, valid mask and circular axes.

        Returns:
            (B, C, *spatial).
        """
        conditions = Conditioning() if conditions is None else conditions
        wrap, size, valid = conditions.wrap, x.shape[2:], conditions.valid
        extra = [(0, -n % factor) for n, factor in zip(size, self._factors, strict=True)]
        if valid is not None:
            valid = valid.expand(x.shape[0], -1, *size)
            x = x.masked_fill(valid == 0, 0)
            valid = _extend((valid > 0).float(), extra, wrap, "constant")
        x = _extend(x, extra, wrap, "constant")
        if level.ndim > 1:
            level = _extend(level.expand(x.shape[0], -1, *size).float(), extra, wrap, "replicate")
        total = sum(conditions.vector.values())
        inputs = stage_inputs(self.level, level, total, valid, wrap, self.dims, self.patch, len(self.down))
        out = channels_to_space(self._body(space_to_channels(x, self.patch), inputs), self.patch)
        return out[(..., *(slice(n) for n in size))]

    def check_size(self, size: Sequence[int], wrap: Sequence[int] = ()) -> None:
        """Check a size against the positions that the network was trained with.

        Args:
            size: Size of the diffused tensor along each spatial axis.
            wrap: Circular axes: they have no positions, so that any size is valid.

        Raises:
            BadInput: The size is larger than in training.
        """
        known = [i for i, octaves in enumerate(self.octaves) if octaves and i not in wrap]
        if any(size[axis] > self.places[axis] for axis in known):
            raise BadInput(
                f"this network was trained with positions={self.positions} on {list(self.places)} places and knows "
                f"nothing beyond them, so not {list(size)}: ask for less, or train with network.positions=0"
            )

    def _positions(self, x: Tensor, wrap: tuple[int, ...]) -> Tensor:
        """cos(pi 2^k i / N) for k < K along each axis of K octaves, (B, sum of K, *spatial); 0 along wrapped axes.

        i counts elements from the beginning and N is the size in training. The network can then distinguish, for
        example, the attack of a sound from its tail, and the beginning does not depend on the length. A circular axis
        has no beginning, so its features are 0.
        """
        features = []
        for axis, (size, patch, count) in enumerate(zip(self.places, self.patch, self.octaves, strict=True)):
            i = torch.arange(x.shape[2 + axis], device=x.device, dtype=torch.float32) * patch / size
            octaves = 2.0 ** torch.arange(count, device=x.device)
            cosines = torch.cos(torch.pi * octaves[:, None] * i) * (axis not in wrap)  # (K, n)
            shape = [1] * self.dims
            shape[axis] = len(i)
            features.append(cosines.reshape(1, count, *shape).expand(x.shape[0], -1, *x.shape[2:]))
        return torch.cat(features, dim=1).to(x.dtype)

    def _body(self, x: Tensor, inputs: list[BlockInputs]) -> Tensor:
        finest, wrap = inputs[0], inputs[0].wrap
        if any(self.octaves):
            x = torch.cat([x, self._positions(x, wrap)], dim=1)
        x, skips = self.stem(finest.mask_padding(x), wrap), []
        for i, stage in enumerate(self.down):
            x = stage(x, inputs[i])
            if i < len(self.shrink):
                skips.append(x * self.skip_scale if self.skip_scale != 1 else x)
                x = self.shrink[i](inputs[i].mask_padding(x))
        for i in reversed(range(len(self.up))):
            x = self.up[i](torch.cat([self.grow[i](x), skips.pop()], dim=1), inputs[i])
        return self.head(finest.mask_padding(F.silu(self.norm(x, finest.padding))), wrap)


def spatial_size(latent: Sequence[int], axes: Sequence[str], network: str) -> tuple[int, ...]:
    """The size of the diffused tensor along each axis, after a check of the number of axes.

    Args:
        latent: Shape of the diffused tensor, (C, *spatial).
        axes: Names of the axes that the network expects.
        network: The network's registered name, for the message.

    Returns:
        The sizes along the spatial axes.

    Raises:
        BadInput: The tensor has a different number of axes.
    """
    if len(latent) != 1 + len(axes):
        raise BadInput(
            f"{network} takes tensors of shape (C, {', '.join(axes)}), and the codec makes {tuple(latent)}: choose "
            f"another codec or network"
        )
    return tuple(latent[1:])


def _extend(x: Tensor, extra: list[tuple[int, int]], wrap: tuple[int, ...], mode: str) -> Tensor:
    """Pad at the end of each axis: circularly along wrapped axes, otherwise by `mode`."""
    inside = [e if axis in wrap else (0, 0) for axis, e in enumerate(extra)]
    outside = [(0, 0) if axis in wrap else e for axis, e in enumerate(extra)]
    return pad_axes(pad_axes(x, inside, "circular"), outside, mode)


def _check(
    width: int, stages: Sequence[int], blocks: int, attention: Sequence[int], patches: Sequence[int], head_dim: int
) -> None:
    # The limits are far beyond any network that can be trained.
    numbers = [("width", 2**14, width), ("blocks", 64, blocks), ("head_dim", 2**14, head_dim)]
    for name, limit, value in [*numbers, *(("patch", 1024, patch) for patch in patches)]:
        if not 1 <= value <= limit:
            raise BadInput(f"{name} is at least 1 and at most {limit}, not {value}")
    if not 1 <= len(stages) <= 12 or not all(1 <= m <= 64 for m in stages):
        raise BadInput(f"stages are 1 to 12 channel multipliers from 1 to 64, one a resolution, not {list(stages)}")
    wrong = [i for i in attention if not 0 <= i < len(stages)]
    if wrong:
        raise BadInput(f"attention names stages 0 (finest) to {len(stages) - 1}, not {wrong}")
