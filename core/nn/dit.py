"""The N-dimensional diffusion transformer (DiT: Peebles & Xie 2023, arXiv:2212.09748) of the modalities' networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..types import BadInput
from .layers.embedding import make_linear
from .layers.init import reset_parameters
from .layers.inputs import BlockInputs
from .layers.norm import RMSNorm
from .layers.rotary import rotation_at
from .layers.transformer_block import Modulation, SequenceInputs, TransformerBlock
from .spatial import SpatialNetwork, check_at_least_one


class TransformerSize(NamedTuple):
    """Depth (blocks), width (channels) and attention heads of a transformer."""

    depth: int
    width: int
    heads: int


SizeName = Literal["nano", "tiny", "small", "base"]
SIZES: dict[SizeName, TransformerSize] = {
    "nano": TransformerSize(4, 128, 4),
    "tiny": TransformerSize(6, 256, 4),
    "small": TransformerSize(12, 384, 6),
    "base": TransformerSize(12, 768, 12),
}


class DiTND(SpatialNetwork):
    """A transformer over patches, with any number of spatial axes; it accepts any size by padding and cropping.

    Blocks are modulated by noise level and conditions (adaLN-Zero), attend to all patches with rotary positions along
    each axis, and can attend to tokens. The output is initialised to zero. With long skips (U-ViT: Bao et al. 2023,
    arXiv:2209.12152) each block of the second half receives the result of its mirror image in the first half too.
    Sizes, circular axes and padding: see `SpatialNetwork.forward` and `rotary`.

    For transformers Li & He (2025, arXiv:2511.13720) recommend x0 as output and the error of the velocity as loss:
    `process.parameterization: x0` and `objective.loss_space: v`, or `flow` on the schedule rectified_flow, with few
    training times close to clean data (`objective.timestep_sampling: {use: logit_normal, mean: 0.8, std: 0.8}`).

    Args:
        dims: Number of spatial axes.
        channels: C of input and output.
        size: Depth, width and heads, or the name of a row of `SIZES`.
        patch: Elements of a patch: one number, or one for each axis.
        dropout: Probability of dropping a hidden feature of a block.
        skips: Whether there are long skip connections.
        places: Size along each axis in training, which `positions` refer to; () without positions.
        positions: Number of octaves of the absolute position features: one number, or one for each axis; 0: none.
        cross_attention: Whether blocks attend to tokens.
        concat: Number of channels of conditions that follow those of x in the input.

    Raises:
        BadInput: An option is out of range.
    """

    kinds_by_option: ClassVar[Mapping[str, tuple[str, str]]] = {"tokens": ("cross_attention", "true")}

    def __init__(
        self,
        dims: int,
        channels: int,
        size: SizeName | TransformerSize = "small",
        patch: int | Sequence[int] = 2,
        dropout: float = 0.0,
        skips: bool = False,
        places: Sequence[int] = (),
        positions: int | Sequence[int] = 0,
        cross_attention: bool = False,
        concat: int = 0,
    ):
        depth, width, heads = SIZES[size] if isinstance(size, str) else size
        _check(dims, depth, width, heads)
        super().__init__(dims, channels, width, patch, 1, places, positions, cross_attention, concat)
        self.head_dim = width // heads
        self.embed = make_linear(self.folded_input, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, width, self.head_dim, dropout, cross_attention) for _ in range(depth)
        )
        self.joins = nn.ModuleList(make_linear(2 * width, width) for _ in range(depth // 2 if skips else 0))
        self.modulation = Modulation(width, width, 2)
        self.norm = RMSNorm(width, affine=False)
        self.head = make_linear(width, self.folded, zero=True)
        reset_parameters(self, 0)

    def _body(self, x: Tensor, inputs: list[BlockInputs]) -> Tensor:
        grid, (given,) = x.shape[2:], inputs
        at = SequenceInputs.flattened(given, rotation_at(grid, self.head_dim, given.wrap, x))
        x, skips = self.embed(x.flatten(2).transpose(1, 2)), []  # (B, N, W)
        first = len(self.blocks) - len(self.joins)  # the first block that receives a skip
        for i, block in enumerate(self.blocks):
            if i >= first:
                x = self.joins[i - first](torch.cat([x, skips.pop()], dim=-1))
            x = block(x, at)
            if i < len(self.joins):
                skips.append(x)
        scale, shift = self.modulation(at)
        return self.head(self.norm(x) * (1 + scale) + shift).transpose(1, 2).unflatten(2, grid)


def _check(dims: int, depth: int, width: int, heads: int) -> None:
    for name, limit, value in (("depth", 256, depth), ("width", 2**14, width), ("heads", width, heads)):
        check_at_least_one(name, limit, [value])
    if width % heads or width // heads % 2 or width // heads < 2 * dims:
        raise BadInput(
            f"a width of {width} and {heads} heads: heads need an even number of channels, two or more for each of the "
            f"{dims} axes"
        )
