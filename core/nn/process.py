"""The diffusion process of a recipe: how data is made noisy, what the network learns of it, and how an error counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..noise_conditioning.base import NoiseConditioning
from ..objectives._mixed_levels import mixed_times
from ..objectives.timestep_sampling.base import TimestepSampling
from ..objectives.weightings.base import Weighting
from ..parameterizations.base import Parameterization
from ..schedulers.base import Schedule
from ..types import Conditioning, NoiseLevel
from .model import NetworkDenoiser


@dataclass(frozen=True)
class Process:
    """Schedule, prediction, the space of the loss, clock, density of training times and weighting.

    per_element: share of the training samples whose elements differ in level
    """

    schedule: Schedule
    prediction: Parameterization
    loss_space: Parameterization
    clock: NoiseConditioning
    times: TimestepSampling
    weighting: Weighting
    per_element: float = 0.0

    def denoiser(self, network: nn.Module) -> NetworkDenoiser:
        """The network as samplers and guidance take it."""
        return NetworkDenoiser(network, self.prediction, self.clock)

    def level(self, u: Tensor) -> NoiseLevel:
        """Training levels (B,) from uniform numbers u (B,) in [0, 1)."""
        return self.schedule.level(self.times.sample(u, self.schedule))

    def mixed(self, level: NoiseLevel, spatial: Sequence[int], seed: int, rows: Sequence[int], step: int) -> NoiseLevel:
        """The levels (B,) as maps (B, 1, *spatial) in which parts of some samples are at other levels, or clean.

        rows: the samples' numbers in the global batch; with (seed, step) they key what is drawn
        """
        if not self.per_element:
            return level
        t = torch.as_tensor(level.t)
        t = mixed_times(t, spatial, self.times, self.schedule, self.per_element, seed, rows, step)
        return level if t is None else self.schedule.level(t)

    def losses(
        self, network: nn.Module, x0: Tensor, eps: Tensor, level: NoiseLevel, conditions: Conditioning
    ) -> Tensor:
        """The loss of each sample, (B,): the weighted squared error, averaged over the sample's valid elements.

        w(level) (gain_loss / gain_output)^2 (output - target)^2: the output's error, carried to the space of the loss.
        Where the level is a map, clean elements count for nothing: there is nothing left to learn of them.
        """
        at = level.on(x0)
        x = at.alpha * x0 + at.sigma * eps
        output = self.denoiser(network).output(x, level, conditions)
        error = (output - self.prediction.target(x0, eps, at)).square()
        weight = self.weighting.weight(at, self.loss_space)
        if self.loss_space is not self.prediction:
            weight = weight * (self.loss_space.gain(at) / self.prediction.gain(at)) ** 2
        counted = conditions.valid
        if isinstance(at.sigma, Tensor) and at.sigma[:1].numel() > 1:
            noisy = at.sigma > 0
            weight = torch.where(noisy, weight, 0.0)
            counted = noisy.to(x0.dtype) if counted is None else counted * noisy
        return valid_mean(error * weight, counted)


def valid_mean(error: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over each sample's valid elements: error (B, C, *spatial), valid (B, 1, *spatial) or None -> (B,)."""
    if valid is None:
        return error.flatten(1).mean(1)
    kept = (error * valid).flatten(1).sum(1)
    return kept / (valid.flatten(1).sum(1) * error.shape[1]).clamp(min=1)
