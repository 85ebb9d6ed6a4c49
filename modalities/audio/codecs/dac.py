"""Latent tensors of the Descript Audio Codec, of the package transformers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....core.codecs.pretrained import LibraryModel
from ._pretrained import NetworkFacts, PretrainedSoundCodec


class Dac(PretrainedSoundCodec):
    """Embeddings of DAC before quantisation: (B, 1, frames) -> (B, latent, positions), of unit variance.

    The Descript Audio Codec (Kumar et al. 2023, arXiv:2306.06546), read from a folder as transformers saves it
    (config.json and safetensors) and not trained. The tensor is continuous: it is what the encoder gives and the
    decoder takes, and no quantiser lies between them. Its many channels need a wide network. Sounds are mono and cannot
    be loops. Checkpoints hold a hash of the files instead of the weights.

    Args:
        spec: Media specification of the sounds, of the network's rate and one channel.
        folder: Folder of the network; nothing is fetched.
    """

    model = LibraryModel("transformers", "DacModel", "model_type", "dac")

    def facts(self, config: Any) -> NetworkFacts:
        """Of a DacConfig."""
        return NetworkFacts(config.sampling_rate, 1, tuple(config.downsampling_ratios), config.hidden_size)

    def to_latents(self, media: Tensor) -> Tensor:
        """Embeddings before quantisation."""
        return self.latents.network.encoder(media)

    def to_media(self, latents: Tensor) -> Tensor:
        """Decode embeddings that were not quantised."""
        return self.latents.network.decoder(latents)
