"""Codecs of sound of other packages: what they share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor
from torch.nn import functional

from ....core.codecs.base import LearnedCodec
from ....core.codecs.pretrained import LibraryModel, PretrainedLatents, require_equal
from ....core.types import BadInput, Item, MediaSpec
from .base import FrameCodec


class NetworkFacts(NamedTuple):
    """What the configuration of a network says.

    Attributes:
        rate: Samples per second.
        channels: Channels of the sound.
        ratios: Reduction of each stage; their product is the number of samples of a position.
        latent: Channels of the latent tensor.
    """

    rate: int
    channels: int
    ratios: tuple[int, ...]
    latent: int


class PretrainedSoundCodec(LearnedCodec, FrameCodec):
    """Latent tensor of a network that is read from a folder: (B, C, frames) -> (B, latent, positions), unit variance.

    Args:
        spec: Media specification of the sounds, of the network's rate and channels.
        folder: Folder of the network; nothing is fetched.

    Raises:
        BadInput: The package is not installed, or the folder or the sounds do not fit.
    """

    wrap = ()  # the convolutions cannot be circular
    model: ClassVar[LibraryModel]

    def __init__(self, spec: MediaSpec, folder: Path):
        latents = PretrainedLatents(self.model, folder)
        facts = self.facts(latents.config)
        super().__init__(spec, math.prod(facts.ratios))
        require_equal(
            str(folder),
            {"modality.rate": facts.rate, "modality.channels": facts.channels},
            {"modality.rate": spec.rate, "modality.channels": spec.channels},
        )
        self.latents, self.latent = latents, facts.latent
        self.latents.set_channels(facts.latent)

    @abstractmethod
    def facts(self, config: Any) -> NetworkFacts:
        """What the network's configuration says; BadInput for one that cannot be a codec."""

    @abstractmethod
    def to_latents(self, media: Tensor) -> Tensor:
        """Media that fill whole positions -> the network's latent values."""

    @abstractmethod
    def to_media(self, latents: Tensor) -> Tensor:
        """The network's latent values -> media of almost `positions * hop` samples."""

    def fit(self, items: Iterable[Item]) -> None:
        """Fit the scales of the latent channels."""
        self.latents.fit(self, items)

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, frames) -> (B, latent, positions)."""
        found, positions = self.to_latents(self.padded(media, loop)), self.frames(media.shape[-1:])
        if found.shape[-1] != positions:
            raise BadInput(
                f"{self.latents.source}: the network encodes {media.shape[-1]} samples as {found.shape[-1]} positions, "
                f"not {positions}: its stages do not divide the length"
            )
        return self.latents.normal(found)

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, latent, positions) -> (B, C, frames), cut to `length` samples."""
        media = self.to_media(self.latents.normal.inverse(z))
        media = functional.pad(media, (0, z.shape[-1] * self.hop - media.shape[-1]))  # odd stages lose a few samples
        return self.cut(media, length, loop)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(latent, positions)."""
        return self.latent, self.frames(size)
