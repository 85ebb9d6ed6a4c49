"""Base class of codecs: media <-> the diffused tensor; and the standardisation that codecs use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..types import BadInput, Item, MediaSpec


class ChannelStandardizer(nn.Module):
    """y = (x - mean) / scale with one mean and scale per channel: valid elements of y have mean 0 and variance 1.

    Mean and scale are buffers, so that checkpoints contain them. The scale of a constant channel is 1.

    Args:
        channels: C of the tensors (B, C, *spatial).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def fit(self, batches: Iterable[tuple[Tensor, Tensor | None]], centre: bool = True) -> None:
        """Fit mean and scale, with sums in float64.

        Args:
            batches: Pairs (x, valid): x (B, C, *spatial), valid (B, 1, *spatial) or None: all valid.
            centre: Whether to fit the mean; otherwise it is 0.

        Raises:
            BadInput: There is no valid element.
        """
        count = torch.zeros((), dtype=torch.float64)
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for x, valid in batches:
            x = x.double()
            axes = (0, *range(2, x.ndim))
            weight = torch.ones_like(x[:, :1]) if valid is None else valid.double().expand_as(x[:, :1])
            count += weight.sum()
            total += (x * weight).sum(axes)
            squares += (x.square() * weight).sum(axes)
        if count == 0:
            raise BadInput("nothing to fit the codec on: the training split has no valid element")
        mean = total / count if centre else torch.zeros_like(total)
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        varies = deviation > 1e-6 * (mean.abs() + deviation.max().clamp(min=1e-12))
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(varies, deviation, torch.ones_like(deviation)))

    def forward(self, x: Tensor) -> Tensor:
        """x -> y, (B, C, *spatial)."""
        return (x - self._shaped(self.mean, x)) / self._shaped(self.scale, x)

    def inverse(self, y: Tensor) -> Tensor:
        """y -> x, (B, C, *spatial)."""
        return y * self._shaped(self.scale, y) + self._shaped(self.mean, y)

    @staticmethod
    def _shaped(v: Tensor, x: Tensor) -> Tensor:
        return v.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))


class Codec(nn.Module, ABC):
    """Media (B, C, *media) <-> diffused tensor z (B, C', *spatial) of unit variance. Differentiable in both directions.

    `fit` stores its results in buffers, so that a checkpoint contains them.

    Args:
        spec: Properties of the media.

    Attributes:
        wrap: Spatial axes of z that can be circular, for loops.
        unit: A loop's length along such an axis must be a multiple of this number of media elements.
        channel_axes: Name and size of each axis that is flattened into the C' channels of z, the one that varies
            slowest first; the sizes multiply to C'. A network may use neighbours along such an axis. (): the channels
            have no order.
    """

    wrap: tuple[int, ...] = ()
    unit: int = 1
    channel_axes: tuple[tuple[str, int], ...] = ()

    def __init__(self, spec: MediaSpec):
        super().__init__()
        self.spec = spec

    @abstractmethod
    def fit(self, items: Iterable[Item]) -> None:
        """Fit scales on the valid elements of the training split."""

    @abstractmethod
    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """Encode media.

        Args:
            media: (B, C, *media).
            loop: Whether the axes of `wrap` are circular.

        Returns:
            z, (B, C', *spatial).
        """

    @abstractmethod
    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """Decode a diffused tensor.

        Args:
            z: (B, C', *spatial).
            length: Number of elements along the time axis that the result is cut to; None: not cut.
            loop: Whether the axes of `wrap` are circular.

        Returns:
            Media, (B, C, *media).
        """

    @abstractmethod
    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (C', *spatial) of the diffused tensor for media of this size."""

    def valid(self, lengths: Tensor, size: tuple[int, ...]) -> Tensor | None:
        """Which elements of z contain data and not only padding.

        Args:
            lengths: Valid media elements along the time axis, (B,).
            size: Size of the media along each axis.

        Returns:
            (B, 1, *spatial), 1 for elements of z that cover some of the first `lengths` media elements; None: all are
            valid.
        """
        return None

    def fill(self, z: Tensor, media: Tensor, known: Tensor, loop: bool = False) -> Tensor:
        """Combine known media with generated media.

        A codec that loses information makes the two consistent at the boundaries.

        Args:
            z: Generated diffused tensor, (B, C', *spatial).
            media: Known media, (B, C, *media).
            known: (B, 1, *media), True where `media` is used, False where z is decoded.
            loop: Whether the axes of `wrap` are circular.

        Returns:
            (B, C, *media).
        """
        decoded = self.decode(z, loop=True) if loop else self.decode(z, self.spec.length_of(media.shape))
        return torch.where(known, media, decoded)

    def log_det(self, size: tuple[int, ...]) -> float | None:
        """log |det d z / d media| for media of this size; None if the map is not one to one."""
        return None


class LearnedCodec(Codec):
    """A codec with a trained network, in `latents`: `fit` runs on the training device, and examples are encoded once.

    Attributes:
        latents: The network with the scales of its latent channels.
        latent: Channels of the latent tensor.
    """

    latents: Any
    latent: int

    def settings(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Name -> value of the settings that change what the codec does, for comparisons with other runs.

        Args:
            options: The options of the recipe, defaults included, without `use`.
        """
        return self.latents.settings(options)

    def fitted_values(self) -> Mapping[str, Tensor]:
        """The weights and scales, for comparisons with other runs; a hash in place of weights of another package."""
        return self.latents.fitted_values()

    def adapted_state(self, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The state that a checkpoint holds, for a codec whose network comes from another place than in its run.

        Args:
            stored: Name -> tensor of the codec's state in the checkpoint.

        Returns:
            A state for `load_state_dict`; `stored` itself if the network comes from the same place.

        Raises:
            BadInput: The checkpoint does not hold what this codec needs.
        """
        prefix = "latents."
        inner = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
        adapted = self.latents.adapted_state(inner)
        if adapted is inner:
            return stored
        rest = {name: value for name, value in stored.items() if not name.startswith(prefix)}
        return rest | {prefix + name: value for name, value in adapted.items()}

    def describe(self) -> str:
        """The network and how much it loses, in one line."""
        return self.latents.describe()

    def write(self, path: Path) -> None:
        """Write a file for other runs; nothing if the network was read from files."""
        self.latents.write(path)
