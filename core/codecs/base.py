"""What a codec is: media <-> the tensor that is diffused, fitted once and inverted in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..types import BadInput, Item, MediaSpec


class Standardise(nn.Module):
    """y = (x - mean) / scale with one mean and scale a channel: valid elements of y have mean 0 and variance 1.

    Buffers travel in checkpoints. A channel that never varies keeps scale 1.

    Args:
        channels: C of the (B, C, *spatial) tensors it sees.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def fit(self, batches: Iterable[tuple[Tensor, Tensor | None]], centre: bool = True) -> None:
        """Fit on (x, valid) pairs: x (B, C, *spatial), valid (B, 1, *spatial) or None. Sums are float64."""
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
            raise BadInput("nothing to fit the codec on: the training split holds no valid element")
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
    """Media (B, C, *media) <-> diffused tensor z (B, C', *spatial) of unit variance. Differentiable both ways.

    What `fit` learns is kept in buffers, so that a checkpoint holds it.

    Attributes:
        wrap: Spatial axes of z that may be made a loop.
        unit: Media elements along such an axis that a loop's length must be a multiple of.
    """

    wrap: tuple[int, ...] = ()
    unit: int = 1

    def __init__(self, spec: MediaSpec):
        super().__init__()
        self.spec = spec

    @abstractmethod
    def fit(self, items: Iterable[Item]) -> None:
        """Learn scales from the training split, from valid elements only."""

    @abstractmethod
    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, *media) -> (B, C', *spatial); loop: the axes of `wrap` are circles."""

    @abstractmethod
    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, C', *spatial) -> (B, C, *media), cut to `length` elements along the time axis if given."""

    @abstractmethod
    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(C', *spatial) of the tensor for media of this size."""

    def valid(self, lengths: Tensor, size: tuple[int, ...]) -> Tensor | None:
        """(B, 1, *spatial): 1 where z holds some of the first `lengths` media elements along time; None: all valid."""
        return None

    def fill(self, z: Tensor, media: Tensor, known: Tensor, loop: bool = False) -> Tensor:
        """`media` (B, C, *media) where known (B, 1, *media), and what z says elsewhere.

        A codec that does not keep all of the media makes the two go together at the joints.
        """
        made = self.decode(z, loop=True) if loop else self.decode(z, self.spec.length_of(media.shape))
        return torch.where(known, media, made)

    def log_det(self, size: tuple[int, ...]) -> float | None:
        """log |d z / d media| for media of this size, or None where the map is not one to one."""
        return None
