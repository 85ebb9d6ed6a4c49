"""The diffusion process of a recipe: how data is made noisy, and what a network's output means."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..noise_conditioning.base import NoiseConditioning
from ..parameterizations.base import Parameterization
from ..schedulers.base import Schedule
from .model import NetworkDenoiser


@dataclass(frozen=True)
class Process:
    """What training, sampling and editing of one network have in common.

    Attributes:
        schedule: alpha(t) and sigma(t).
        prediction: the parameterization, what the network's output means.
        clock: the noise conditioning, how the noise level is told to the network.
    """

    schedule: Schedule
    prediction: Parameterization
    clock: NoiseConditioning

    def denoiser(self, network: nn.Module) -> NetworkDenoiser:
        """The network as samplers and guidance take it."""
        return NetworkDenoiser(network, self.prediction, self.clock)
