"""What all networks over (B, C, *spatial) do: any size, patches, levels, positions, padding, tokens."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..types import BadInput, Conditioning
from .layers.conv import pad_axes
from .layers.embedding import NumberEmbedding, make_linear
from .layers.inputs import BlockInputs, stage_inputs
from .layers.resample import channels_to_space, per_axis, space_to_channels
from .layers.tokens import join_tokens, mean_token


class SpatialNetwork(nn.Module, ABC):
    """A network over (B, C, *spatial) without its blocks; a subclass defines them in `_body`.

    Any size is accepted: the input is padded to a multiple of the patch and of the coarsest stage, and the output is
    cropped. The embedding of noise level and vectors, the padding and the circular axes are given to the blocks as
    `BlockInputs`.

    Args:
        dims: Number of spatial axes.
        channels: C of input and output.
        embedding_width: E, length of a condition's vector and of a token.
        patch: Elements that are folded into channels first: one number, or one for each axis.
        resolutions: Number of resolutions; each halves the previous one.
        places: Size along each axis in training, which `positions` refer to; () without positions.
        positions: Number of octaves of the absolute position features, see `_positions`: one number, or one for each
            axis; 0: none.
        tokens: Whether blocks attend to tokens. The mean of the tokens is then added to the embedding.
        concat: Number of channels of `Conditioning.concat` together, which follow those of x in the input.

    Attributes:
        accepts: Kinds of conditioning that it accepts, see `Conditioning`.
        kinds_by_option: Kind of conditioning -> the option by which a network of this class accepts it, and a value.
        embedding_width: E, length of a condition's vector and of a token.
        factor: A multiple along every axis of the elements that one position of the coarsest stage covers.
        positions: The largest number of octaves of an axis; 0: the network does not know where an element is.

    Raises:
        BadInput: An option is out of range.
    """

    accepts = frozenset({"vector", "concat"})
    kinds_by_option: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def __init__(
        self,
        dims: int,
        channels: int,
        embedding_width: int,
        patch: int | Sequence[int],
        resolutions: int,
        places: Sequence[int],
        positions: int | Sequence[int],
        tokens: bool,
        concat: int = 0,
    ):
        super().__init__()
        patches, octaves = per_axis(patch, dims), per_axis(positions, dims)
        check_at_least_one("patch", 1024, patches)
        if len(patches) != dims:
            raise BadInput(f"patch is one number, or one for each of the {dims} axes; got {list(patches)}")
        if not all(0 <= n <= 64 for n in octaves) or (any(octaves) and not len(octaves) == len(places) == dims):
            raise BadInput(
                f"positions is a number of octaves, 0 to 64, and needs a size for each axis; got {positions}"
            )
        self.dims, self.channels, self.patch, self.embedding_width = dims, channels, patches, embedding_width
        self._resolutions, self._factors = resolutions, [p * 2 ** (resolutions - 1) for p in patches]
        self.factor = math.lcm(*self._factors)
        self.places, self.octaves, self.positions = tuple(places), octaves, max(octaves, default=0)
        self.concat = concat
        self.accepts = frozenset({"vector", *["tokens"] * tokens, *["concat"] * bool(concat)})
        self.level = NumberEmbedding(64, embedding_width)
        self.token_mean = make_linear(embedding_width, embedding_width) if tokens else None

    @property
    def folded(self) -> int:
        """Channels of the output with its patches folded."""
        return self.channels * math.prod(self.patch)

    @property
    def folded_input(self) -> int:
        """Channels of the input of `_body`: x and `Conditioning.concat` with patches folded, and position features."""
        return (self.channels + self.concat) * math.prod(self.patch) + sum(self.octaves)

    def forward(self, x: Tensor, level: Tensor, conditions: Conditioning | None = None) -> Tensor:
        """The network's output.

        Along a wrapped axis the network is equivariant to rolling the input, exactly if the size is a multiple of
        `factor`. Elements with `conditions.valid` 0 are ignored: neither their values nor their number change the other
        elements, and the output there has no meaning. `stage_inputs` describes how a map of levels is used.

        Args:
            x: (B, C, *spatial).
            level: The noise conditioning's number, (B,) or a map (B, 1, *spatial).
            conditions: Vectors, tokens and channels of the conditions, valid mask and circular axes.

        Returns:
            (B, C, *spatial).
        """
        conditions = Conditioning() if conditions is None else conditions
        wrap, size, valid = conditions.wrap, x.shape[2:], conditions.valid
        if conditions.concat:
            x = torch.cat([x, *(part.expand(-1, -1, *size).to(x.dtype) for part in conditions.concat.values())], dim=1)
        extra = [(0, -n % factor) for n, factor in zip(size, self._factors, strict=True)]
        if valid is not None:
            valid = valid.expand(x.shape[0], -1, *size)
            x = x.masked_fill(valid == 0, 0)
            valid = _extend((valid > 0).float(), extra, wrap, "constant")
        x = _extend(x, extra, wrap, "constant")
        if level.ndim > 1:
            level = _extend(level.expand(x.shape[0], -1, *size).float(), extra, wrap, "replicate")
        total = sum(conditions.vector.values())
        tokens = None if self.token_mean is None else join_tokens(conditions.tokens)
        if tokens is not None and self.token_mean is not None:
            total = total + self.token_mean(mean_token(tokens))
        inputs = stage_inputs(self.level, level, total, valid, wrap, self.dims, self.patch, self._resolutions)
        inputs = inputs if tokens is None else [stage._replace(tokens=tokens) for stage in inputs]
        x = space_to_channels(x, self.patch)
        if any(self.octaves):
            x = torch.cat([x, self._positions(x, wrap)], dim=1)
        return channels_to_space(self._body(x, inputs), self.patch)[(..., *(slice(n) for n in size))]

    @abstractmethod
    def _body(self, x: Tensor, inputs: list[BlockInputs]) -> Tensor:
        """The blocks.

        Args:
            x: (B, `folded_input`, *spatial / patch), the input with patches folded, then the position features.
            inputs: Inputs of the blocks of each resolution, finest first.

        Returns:
            (B, C patch, *spatial / patch).
        """

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


def check_at_least_one(name: str, limit: int, values: Sequence[int]) -> None:
    """Check that the values of an option lie between 1 and a limit that is far beyond any network one can train.

    Raises:
        BadInput: They do not.
    """
    for value in values:
        if not 1 <= value <= limit:
            raise BadInput(f"{name} is at least 1 and at most {limit}, not {value}")
