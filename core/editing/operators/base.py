"""Base class of linear operators A: media (B, C, *size) -> measurements (B, ...), with the adjoint A*.

The measurement of an inverse problem is y = A x + noise. A* is defined by <A x, y> = <x, A* y> for all x and y; it
carries a difference of measurements back to the media. `sonolux edit RUN recover FILE operator=NAME` uses them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor


class LinearOperator(ABC):
    """A linear map of media, the same for each sample of a batch."""

    def check(self, channels: int, size: Sequence[int]) -> None:
        """Raise BadInput, with the remedy, unless A can be applied to media (B, channels, *size)."""
        return

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """A x for media (B, C, *size)."""

    @abstractmethod
    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """A* y, (B, C, *size), for y of the shape of A x and media of this size."""
