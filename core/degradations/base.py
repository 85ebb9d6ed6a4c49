"""Base classes of degradations: media -> what is left of them.

A degradation y = A x + noise is used in two ways:

- A network is trained with a reference, which a degradation makes of each example: the condition `reference`.
- A network that was not trained for it recovers media from y: `sonolux edit RUN recover FILE operator=NAME`. This takes
  a `LinearOperator`, a degradation by a fixed linear map A without random numbers.

The adjoint A* is defined by <A x, y> = <x, A* y> for all x and y; it carries a difference of measurements back to the
media.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class DegradedMedia(NamedTuple):
    """Media after a degradation.

    Attributes:
        media: (C, *size), of the size of the original.
        known: (1, *size) bool, False where the original is unknown, whatever `media` contains there; None: no part is
            unknown.
    """

    media: Tensor
    known: Tensor | None = None


class Degradation(ABC):
    """Makes a reference from an example of the training data; see the condition `reference`.

    Attributes:
        masks: Whether a part becomes unknown. Such a condition is for inpainting and continuation, any other one for
            restoration.
    """

    masks: bool = False

    @abstractmethod
    def degrade(self, media: Tensor, rng: np.random.Generator) -> DegradedMedia:
        """Degrade an example.

        Args:
            media: (C, *size), without padding; it is not changed.
            rng: Generator, keyed by (seed, row, step).
        """

    def is_mask_trained(self, known: Tensor) -> bool:
        """Whether a network that was trained with this degradation has learned to fill what a mask leaves unknown.

        By default any part, since a degradation that masks draws a new part for each example.

        Args:
            known: (1, *size) bool, False where the media are unknown.
        """
        return self.masks

    def of_file(self, media: Tensor) -> Tensor:
        """The reference that a user's file (C, *size) gives, which is degraded already: by default the file itself.

        A degradation without random numbers is applied once more. This makes no difference to a file with the same
        degradation, and removes what a network has not seen in training, such as details that a resized file has.
        """
        return media


class LinearOperator(Degradation):
    """A linear map A of media (B, C, *size), the same for each sample of a batch."""

    def check(self, size: Sequence[int]) -> None:
        """Raise BadInput, with the remedy, unless A can be applied to media of this size."""
        return

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """A x for media (B, C, *size), of any shape (B, ...)."""

    @abstractmethod
    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """A* y, (B, C, *size), for y of the shape of A x and media of this size."""

    def to_media(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """Media (B, C, *size) that show y: A^+ y, where A^+ is easy to compute, else A* y."""
        return self.adjoint(y, size)

    def degrade(self, media: Tensor, rng: np.random.Generator) -> DegradedMedia:
        """A x as media of the size of the example; nothing is drawn."""
        return DegradedMedia(self.of_file(media))

    def is_mask_trained(self, known: Tensor) -> bool:
        """Only the one part that A does not measure of media of this size."""
        whole = torch.ones(known.shape, device=known.device)
        trained = self.degrade(whole, np.random.default_rng(0)).known
        return self.masks and trained is not None and torch.equal(trained, known)

    def of_file(self, media: Tensor) -> Tensor:
        """A x as media of the size of the file."""
        return self.to_media(self.apply(media[None]), media.shape[1:])[0]
