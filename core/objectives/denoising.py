"""Denoising: the weighted squared error at a random noise level (Karras et al. 2022, arXiv:2206.00364, eq. 8)."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from ..config.spec import Kind, Range
from ..nn.process import Process
from ..parameterizations.base import Parameterization
from ..types import Conditioning, NoiseLevel
from ._mixed import mixed_times
from .base import LossResult, Objective, StepRandom, valid_mean
from .timestep_sampling.base import TimestepSampling
from .timestep_sampling.lognormal import LogNormal
from .weightings.base import Weighting
from .weightings.none import Unweighted


class Denoising(Objective):
    """The squared error of what the network predicts at a noise level drawn for each sample.

    x = alpha x0 + sigma eps;  loss = mean of w(level) (gain_loss / gain_output)^2 (output - target)^2 over the valid
    elements of a sample: the error of the network's output, carried to the loss space. Levels are stratified over the
    global batch (Kingma et al. 2021, arXiv:2107.00630, appendix I.1).

    With per-element noise levels (Chen et al. 2024, "Diffusion forcing", arXiv:2407.01392) a share of the samples holds
    parts at other levels, some of them clean; clean elements have no loss.

    Args:
        process: schedule, parameterization and noise conditioning.
        loss_space: parameterization in whose space the error is measured; null: that of the network's output.
        timestep_sampling: density of the training times; null: lognormal.
        weighting: weight of the loss by noise level; null: none.
        per_element: share of the training samples whose elements differ in noise level, 0 to 1.
    """

    def __init__(
        self,
        process: Process,
        loss_space: Annotated[Parameterization | None, Kind("prediction")] = None,
        timestep_sampling: Annotated[TimestepSampling | None, Kind("times")] = None,
        weighting: Annotated[Weighting | None, Kind("weighting")] = None,
        per_element: Annotated[float, Range(0, 1)] = 0.0,
    ):
        self.process = process
        self.loss_space = loss_space or process.prediction
        self.timestep_sampling = timestep_sampling or LogNormal()
        self.weighting = weighting or Unweighted()
        self.per_element = per_element

    def loss(self, model: nn.Module, x0: Tensor, conditioning: Conditioning, rng: StepRandom) -> LossResult:
        """Draw noise and levels, make the data noisy, compare what the network predicts with its target."""
        eps = rng.normal("train", x0.shape[1:])
        level = self.level(rng.stratified())
        per_sample = self.error(model, x0, eps, self.mixed(level, x0.shape[2:], rng), conditioning)
        return LossResult(per_sample, {"tau": torch.as_tensor(level.tau)})

    def level(self, u: Tensor) -> NoiseLevel:
        """Training levels (B,) from uniform numbers u (B,) in [0, 1)."""
        schedule = self.process.schedule
        return schedule.level(self.timestep_sampling.sample(u, schedule))

    def mixed(self, level: NoiseLevel, spatial: torch.Size | tuple[int, ...], rng: StepRandom) -> NoiseLevel:
        """The levels (B,) as maps (B, 1, *spatial) in which parts of some samples are at other levels, or clean."""
        if not self.per_element:
            return level
        schedule, t = self.process.schedule, torch.as_tensor(level.t)
        mixed = mixed_times(t, spatial, self.timestep_sampling, schedule, self.per_element, rng)
        return level if mixed is None else schedule.level(mixed)

    def error(self, model: nn.Module, x0: Tensor, eps: Tensor, level: NoiseLevel, conditioning: Conditioning) -> Tensor:
        """The loss of each sample, (B,), at given noise and levels; where the level is a map, clean elements have none.

        Args:
            model: the network, called as `model(x, level, conditioning)`.
            x0: clean data, (B, C, *spatial).
            eps: noise of the same shape.
            level: (B,) or a map (B, 1, *spatial).
            conditioning: what guides each sample.
        """
        output_space = self.process.prediction
        at = level.on(x0)
        x = at.alpha * x0 + at.sigma * eps
        output = self.process.denoiser(model).output(x, level, conditioning)
        error = (output - output_space.target(x0, eps, at)).square()
        weight = self.weighting.weight(at, self.loss_space)
        if self.loss_space is not output_space:
            weight = weight * (self.loss_space.gain(at) / output_space.gain(at)) ** 2
        counted = conditioning.valid
        if isinstance(at.sigma, Tensor) and at.sigma[:1].numel() > 1:
            noisy = at.sigma > 0
            weight = torch.where(noisy, weight, 0.0)
            counted = noisy.to(x0.dtype) if counted is None else counted * noisy
        return valid_mean(error * weight, counted)
