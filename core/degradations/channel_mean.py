"""Degradation: the mean of the channels, for colourisation of pictures and stereo from mono."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..types import BadInput, MediaSpec
from .base import Degradation, DegradedMedia


class ChannelMean(Degradation):
    """Every channel becomes the mean of all channels: a grey picture, a mono sound.

    Args:
        spec: Media specification.

    Raises:
        BadInput: The media have one channel.
    """

    def __init__(self, spec: MediaSpec):
        if spec.channels < 2:
            raise BadInput(f"channel_mean needs media of 2 channels or more, and modality.channels is {spec.channels}")

    def degrade(self, media: Tensor, rng: np.random.Generator) -> DegradedMedia:
        return DegradedMedia(self.of_file(media))

    def of_file(self, media: Tensor) -> Tensor:
        return media.mean(0, keepdim=True).expand_as(media)
