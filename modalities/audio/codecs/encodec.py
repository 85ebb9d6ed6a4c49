"""Latent tensors of EnCodec, of the package transformers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....core.codecs.pretrained import LibraryModel
from ....core.types import BadInput
from ._pretrained import NetworkFacts, PretrainedSoundCodec


class Encodec(PretrainedSoundCodec):
    """Embeddings of EnCodec before quantisation: (B, C, frames) -> (B, latent, positions), of unit variance.

    EnCodec (Defossez et al. 2022, arXiv:2210.13438), read from a folder as transformers saves it (config.json and
    safetensors) and not trained. The tensor is continuous: it is what the encoder gives and the decoder takes, and no
    quantiser lies between them, so that more is kept than in EnCodec's codes. Models that normalise each sound's level,
    such as that of 48 kHz, are refused, since the level would be lost. Sounds cannot be loops. Checkpoints hold a hash
    of the files instead of the weights.

    Args:
        spec: Media specification of the sounds, of the network's rate and channels.
        folder: Folder of the network; nothing is fetched.
    """

    model = LibraryModel("transformers", "EncodecModel", "model_type", "encodec")

    def facts(self, config: Any) -> NetworkFacts:
        """Of an EncodecConfig."""
        if config.normalize:
            raise BadInput(
                "this EnCodec model normalises the level of each sound, which its embeddings do not hold: take one "
                "without, such as that of 24 kHz"
            )
        return NetworkFacts(
            config.sampling_rate, config.audio_channels, tuple(config.upsampling_ratios), config.hidden_size
        )

    def to_latents(self, media: Tensor) -> Tensor:
        """Embeddings before quantisation."""
        return self.latents.network.encoder(media)

    def to_media(self, latents: Tensor) -> Tensor:
        """Decode embeddings that were not quantised."""
        return self.latents.network.decoder(latents)
