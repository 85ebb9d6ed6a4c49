"""Latent tensors of an autoencoder of the package diffusers, such as those of Stable Diffusion."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ....core.codecs.pretrained import LibraryModel, PretrainedLatents, require_equal
from ....core.types import Item, MediaSpec
from ._latents import LatentPictures

_MODEL = LibraryModel("diffusers", "AutoencoderKL", "_class_name", "AutoencoderKL")


class AutoencoderKL(LatentPictures):
    """Latent tensor of an AutoencoderKL: (B, C, H, W) -> (B, latent, H / factor, W / factor), of unit variance.

    The autoencoder of latent diffusion (Rombach et al. 2022, arXiv:2112.10752), read from a folder as diffusers saves
    it (config.json and safetensors) and not trained. A picture is encoded as the mean of its distribution, with the
    mean and scale of each channel fitted on the data in the place of the file's scaling factor. Pictures cannot be
    loops. Checkpoints hold a hash of the files instead of the weights.

    Args:
        spec: Channels and size of the pictures, multiples of the network's factor.
        folder: Folder of the network; nothing is fetched.

    Raises:
        BadInput: diffusers is not installed, the folder is not that of an AutoencoderKL, or the pictures do not fit it.
    """

    def __init__(self, spec: MediaSpec, folder: Path):
        super().__init__(spec)
        self.latents = PretrainedLatents(_MODEL, folder)
        config = self.latents.config
        require_equal(str(folder), {"modality.channels": config.in_channels}, {"modality.channels": spec.channels})
        self.latents.set_channels(config.latent_channels)
        self.latent, self.unit = config.latent_channels, 2 ** (len(config.block_out_channels) - 1)
        self.shape(spec.size)

    def fit(self, items: Iterable[Item]) -> None:
        """Fit the scales of the latent channels."""
        self.latents.fit(self, items)

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, latent, H / factor, W / factor)."""
        self.shape(tuple(media.shape[2:]))
        return self.latents.normal(self.latents.network.encode(media).latent_dist.mode())

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, latent, h, w) -> (B, C, h factor, w factor), not clipped; `length` is ignored."""
        return self.latents.network.decode(self.latents.normal.inverse(z)).sample
