"""Pixels, shifted and scaled to unit variance."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ....core.codecs.base import ChannelStandardizer, Codec
from ....core.types import BadInput, Item, MediaSpec


class Pixels(Codec):
    """z = (x - mean) / scale with one mean and one scale per channel: (B, C, H, W) both ways, z of unit variance.

    The scale is fitted, not assumed: pictures in [-1, 1] have standard deviations of 0.3 to 0.9 depending on the
    data set, and noise levels of a schedule are comparable only for data of unit variance.

    Args:
        spec: Channels and size of the pictures.
    """

    wrap = (0, 1)

    def __init__(self, spec: MediaSpec):
        super().__init__(spec)
        self.standard = ChannelStandardizer(spec.channels)

    def fit(self, items: Iterable[Item]) -> None:
        """Mean and standard deviation of each channel over all pixels of `items`; a constant channel keeps scale 1.

        Raises:
            BadInput: For pictures with another number of channels or with non-finite values.
        """
        self.standard.fit((self._checked(item), None) for item in items)

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, C, H, W) of unit variance."""
        return self.standard(media)

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); not clipped to [-1, 1], so that gradients pass; `length` is ignored."""
        return self.standard.inverse(z)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(C, H, W) for pictures of size (H, W)."""
        return (self.spec.channels, *size)

    def log_det(self, size: tuple[int, ...]) -> float:
        """- H W sum_c log(scale_c)."""
        return -float(torch.tensor(size).prod()) * float(self.standard.scale.double().log().sum())

    def _checked(self, item: Item) -> Tensor:
        if item.media.ndim != 3 or item.media.shape[0] != self.spec.channels:
            shape = tuple(item.media.shape)
            raise BadInput(f"{item.source}: a picture of shape {shape}; the recipe has {self.spec.channels} channels")
        if not torch.isfinite(item.media).all():
            raise BadInput(f"{item.source}: holds values that are not finite")
        return item.media[None]
