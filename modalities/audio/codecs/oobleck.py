"""Latent tensors of an Oobleck autoencoder of the package diffusers, as of Stable Audio."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....core.codecs.pretrained import LibraryModel
from ._pretrained import NetworkFacts, PretrainedSoundCodec


class Oobleck(PretrainedSoundCodec):
    """Latent tensor of an AutoencoderOobleck: (B, C, frames) -> (B, latent, positions), of unit variance.

    The autoencoder of Stable Audio (Evans et al. 2024, arXiv:2402.04825), read from a folder as diffusers saves it
    (config.json and safetensors) and not trained. A sound is encoded as the mean of its distribution. Sounds cannot be
    loops. Checkpoints hold a hash of the files instead of the weights.

    Args:
        spec: Media specification of the sounds, of the network's rate and channels.
        folder: Folder of the network; nothing is fetched.
    """

    model = LibraryModel("diffusers", "AutoencoderOobleck", "_class_name", "AutoencoderOobleck")

    def facts(self, config: Any) -> NetworkFacts:
        """Of the configuration of an AutoencoderOobleck."""
        return NetworkFacts(
            config.sampling_rate,
            config.audio_channels,
            tuple(config.downsampling_ratios),
            config.decoder_input_channels,
        )

    def to_latents(self, media: Tensor) -> Tensor:
        """Means."""
        return self.latents.network.encode(media).latent_dist.mode()

    def to_media(self, latents: Tensor) -> Tensor:
        """Decode."""
        return self.latents.network.decode(latents).sample
