"""The mean of all channels: colours from grey, stereo from mono."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..types import BadInput, MediaSpec
from .base import LinearOperator


class ChannelMean(LinearOperator):
    """The mean of all channels: a grey picture, a mono sound.

    y = (x_1 + ... + x_C) / C; A* y = (y / C, ..., y / C); A^+ y = (y, ..., y).

    Args:
        spec: Media specification.

    Raises:
        BadInput: The media have one channel.
    """

    def __init__(self, spec: MediaSpec):
        if spec.channels < 2:
            raise BadInput("channel_mean is the mean of several channels, and the media of this run have one")
        self.channels = spec.channels

    def apply(self, x: Tensor) -> Tensor:
        """The mean, (B, 1, *size)."""
        return x.mean(1, keepdim=True)

    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The mean's share of each channel, (B, C, *size)."""
        return self.to_media(y / self.channels, size)

    def to_media(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The mean as each channel, (B, C, *size)."""
        return y.expand(-1, self.channels, *size)
