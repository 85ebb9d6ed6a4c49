"""The mean of all channels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...types import BadInput, MediaSpec
from .base import LinearOperator


class Mix(LinearOperator):
    """The mean of all channels: mono of stereo (upmixing), grey of colours (colourising).

    y = (x_1 + ... + x_C) / C; A* y = (y / C, ..., y / C).
    """

    def __init__(self, spec: MediaSpec):
        self.channels = spec.channels

    def check(self, channels: int, size: Sequence[int]) -> None:
        if channels < 2:
            raise BadInput(
                "mix is the mean of several channels, and this run's media have one: choose another operator"
            )

    def apply(self, x: Tensor) -> Tensor:
        """The mean, (B, 1, *size)."""
        self.check(x.shape[1], x.shape[2:])
        return x.mean(1, keepdim=True)

    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The mean's share of each channel, (B, C, *size)."""
        return (y / self.channels).expand(-1, self.channels, *size)
