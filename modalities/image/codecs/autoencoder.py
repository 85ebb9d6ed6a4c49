"""Latent tensors of a convolutional autoencoder that is trained on the pictures of the run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from torch import Tensor

from ....core.codecs.trained import TrainedAutoencoder, media_facts
from ....core.nn.autoencoder import AutoencoderND, Bottleneck
from ....core.training.optimizers.muon import Muon
from ....core.types import Item, MediaSpec
from ....core.util.annotations import Range
from ._latents import LatentPictures
from .pixels import Pixels

_CROP = 64  # pixels along each axis of the parts that it is trained on


class Autoencoder(LatentPictures):
    """Latent tensor of a trained autoencoder: (B, C, H, W) -> (B, latent, H / factor, W / factor), of unit variance.

    It loses details, which the report of training and `sonolux eval` measure. A run writes the trained codec to
    codec.safetensors, which other runs use with `file`; their checkpoints hold its hash instead of its weights.

    Args:
        spec: Channels and size of the pictures, multiples of `factor`.
        factor: Reduction of height and width, a power of 2.
        latent: Channels of the latent tensor.
        width: Channels of the finest stage of the network.
        blocks: Residual blocks per stage.
        bottleneck: What keeps latent values in range: tanh (bounded), or a KL divergence (kl).
        steps: Training steps.
        batch: Parts of pictures in a training step.
        lr: Learning rate.
        file: Trained codec to use instead of training one.

    Raises:
        BadInput: An option is out of range, the size does not fit, or the file is of another codec.
    """

    wrap = (0, 1)

    def __init__(
        self,
        spec: MediaSpec,
        factor: int = 4,
        latent: int = 4,
        width: int = 32,
        blocks: int = 1,
        bottleneck: Bottleneck = "bounded",
        steps: Annotated[int, Range(1, 10**7)] = 1000,
        batch: Annotated[int, Range(1, 2**16)] = 16,
        lr: Annotated[float, Range(above=0)] = 2e-3,
        file: Path | None = None,
    ):
        super().__init__(spec)
        network = AutoencoderND(2, spec.channels, latent, factor, width, blocks, bottleneck)
        self.unit, self.latent, self.steps, self.batch, self.lr = factor, latent, steps, batch, lr
        self.shape(spec.size)
        self.latents = TrainedAutoencoder(Pixels(spec), network, media_facts(spec), file)

    def fit(self, items: Iterable[Item]) -> None:
        """Train the network on the pictures, or measure the error of one that was read from a file."""
        crop, optimizer = max(1, _CROP // self.unit), Muon(self.lr)
        self.latents.fit(
            items, lambda x: self.latents.parts.base.encode(x), self.steps, self.batch, crop, optimizer.make
        )

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, latent, H / factor, W / factor)."""
        self.shape(tuple(media.shape[2:]))
        return self.latents.encode(self.latents.parts.base.encode(media), self.wrap if loop else ())

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, latent, h, w) -> (B, C, h factor, w factor), not clipped; `length` is ignored."""
        return self.latents.parts.base.decode(self.latents.decode(z, self.wrap if loop else ()))
