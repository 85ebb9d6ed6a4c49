"""Sound as it is: `patch` neighbouring samples become channels, and one scale makes the variance 1."""

from __future__ import annotations

import math
from collections.abc import Iterable

from einops import rearrange
from torch import Tensor

from ....core.codec import Standardise
from ....core.types import BadInput, Item, Signal
from .base import FrameCodec, batches, first


class Waveform(FrameCodec):
    """Samples of the waveform, patched to channels: (B, C, frames) -> (B, C patch, frames / patch); exact.

    z[b, c patch + i, k] = x[b, c, k patch + i] / scale, with one scale for everything (mean 0: sound has no DC that is
    worth learning). One to one where the length is a multiple of patch. With circular frames a loop stays a loop.

    patch: samples that become the channels of one place; 16 is a good start at 8 to 16 kHz
    """

    def __init__(self, signal: Signal, patch: int = 16):
        if patch < 1:
            raise BadInput(f"codec.patch is a number of samples, 1 or more; got {patch}")
        super().__init__(signal, hop=patch)
        self.patch = patch
        self.normal = Standardise(1)

    def fit(self, items: Iterable[Item]) -> None:
        """One scale from the valid samples."""

        def pairs():
            for media, lengths in batches(items):
                mask = first(lengths, media.shape[-1]).expand_as(media)
                yield rearrange(media, "b c n -> b 1 (c n)"), rearrange(mask, "b c n -> b 1 (c n)")

        self.normal.fit(pairs(), centre=False)

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, frames) -> (B, C patch, places); silence fills the last place."""
        patches = rearrange(self.padded(media, loop), "b c (k p) -> b (c p) k", p=self.patch)
        return patches / self.normal.scale.to(media.dtype)

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, C patch, places) -> (B, C, frames), cut to `length` samples."""
        media = rearrange(z * self.normal.scale.to(z.dtype), "b (c p) k -> b c (k p)", p=self.patch)
        return self.cut(media, length, loop)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(C patch, places)."""
        return self.signal.channels * self.patch, self.frames(size)

    def log_det(self, size: tuple[int, ...]) -> float | None:
        """-N log(scale) for N media elements; None where the last place is padded."""
        if size[-1] % self.patch:
            return None
        return -self.signal.channels * size[-1] * math.log(float(self.normal.scale))
