"""Codecs of pictures with a network: the shape of their latent tensor."""

from __future__ import annotations

from ....core.codecs.base import LearnedCodec
from ....core.types import BadInput


class LatentPictures(LearnedCodec):
    """A codec whose network reduces height and width by `unit`."""

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(latent, H / unit, W / unit).

        Raises:
            BadInput: A size is no multiple of the unit.
        """
        if any(n % self.unit for n in size):
            raise BadInput(f"this autoencoder takes sizes that are multiples of {self.unit}, not {list(size)}")
        return self.latent, *(n // self.unit for n in size)
