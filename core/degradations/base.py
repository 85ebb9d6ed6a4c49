"""Base class of degradations: media -> what is left of them, which a network receives as its reference."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
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

    def of_file(self, media: Tensor) -> Tensor:
        """The reference that a user's file (C, *size) gives, which is degraded already: by default the file itself.

        A degradation without random numbers is applied once more. This makes no difference to a file with the same
        degradation, and removes what a network has not seen in training, such as details that a resized file has.
        """
        return media
