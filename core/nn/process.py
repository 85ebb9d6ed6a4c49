"""The diffusion process of a recipe: how data is made noisy, and what a network's output means."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..noise_conditioning.base import NoiseConditioning
from ..parameterizations.base import Parameterization
from ..schedulers.base import Schedule
from .model import NetworkDenoiser


@dataclass(frozen=True)
class DiffusionProcess:
    """The diffusion process, which training, sampling and editing of one network share.

    Attributes:
        schedule: Noise schedule, alpha(t) and sigma(t).
        parameterization: What the network's output means.
        noise_conditioning: The number, computed from the noise level, that the network receives.
    """

    schedule: Schedule
    parameterization: Parameterization
    noise_conditioning: NoiseConditioning

    def denoiser(self, network: nn.Module) -> NetworkDenoiser:
        """The network as a denoiser, for samplers and guidance."""
        return NetworkDenoiser(network, self.parameterization, self.noise_conditioning)
