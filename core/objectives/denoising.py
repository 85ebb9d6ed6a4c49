"""Denoising: the weighted squared error at a random noise level (Karras et al. 2022, arXiv:2206.00364, eq. 8)."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..nn.process import DiffusionProcess
from ..parameterizations.base import Parameterization
from ..types import BadInput, Conditioning, NoiseLevel
from ..util.annotations import ComponentKind, Range
from ._per_element import per_element_times
from .base import LossResult, Objective, StepRandomNumbers, valid_mean
from .timestep_sampling.base import TimestepSampling
from .timestep_sampling.lognormal import LogNormal
from .weightings.base import Weighting
from .weightings.none import Unweighted


class Denoising(Objective):
    """The weighted squared error of the network's prediction at a random noise level.

    x = alpha x0 + sigma eps;  loss = mean of w(level) (gain_loss / gain_output)^2 (output - target)^2 over the valid
    elements of a sample: the error of the network's output, converted to the loss space. Levels are stratified over the
    global batch (Kingma et al. 2021, arXiv:2107.00630, appendix I.1).

    With per-element noise levels (Chen et al. 2024, "Diffusion forcing", arXiv:2407.01392) a share of the samples has
    parts with other levels, some of them clean; clean elements have no loss.

    Args:
        process: Schedule, parameterization and noise conditioning.
        loss_space: Parameterization in whose space the error is measured; null: that of the network's output.
        timestep_sampling: Density of the training times.
        weighting: Weight of the loss by noise level.
        per_element: Share of training samples with per-element noise levels, 0 to 1.
    """

    def __init__(
        self,
        process: DiffusionProcess,
        loss_space: Annotated[Parameterization | None, ComponentKind("parameterization")] = None,
        timestep_sampling: Annotated[TimestepSampling | Any, ComponentKind("timestep_sampling")] = "lognormal",
        weighting: Annotated[Weighting | Any, ComponentKind("weighting")] = "none",
        per_element: Annotated[float, Range(0, 1)] = 0.0,
    ):
        self.process = process
        output = process.parameterization
        given = output if loss_space is None else loss_space
        same = type(given) is type(output) and vars(given) == vars(output)
        self.loss_space = output if same else given
        self.timestep_sampling = LogNormal() if timestep_sampling == "lognormal" else timestep_sampling
        self.weighting = Unweighted() if weighting == "none" else weighting
        for name, value, kind in (
            ("timestep_sampling", self.timestep_sampling, TimestepSampling),
            ("weighting", self.weighting, Weighting),
        ):
            if not isinstance(value, kind):
                raise BadInput(f"{name} is a {kind.__name__} object, not {value!r}")
        self.per_element = per_element

    def loss(self, model: nn.Module, x0: Tensor, conditioning: Conditioning, rng: StepRandomNumbers) -> LossResult:
        """Draw noise and levels, add noise to the data, compare the network's output with its target."""
        eps = rng.normal("train", x0.shape[1:])
        level = self.level(rng.stratified())
        per_sample = self.error(model, x0, eps, self.per_element_levels(level, x0.shape[2:], rng), conditioning)
        return LossResult(per_sample, {"tau": torch.as_tensor(level.tau)})

    def level(self, u: Tensor) -> NoiseLevel:
        """Training levels (B,) from uniform numbers u (B,) in [0, 1)."""
        schedule = self.process.schedule
        return schedule.level(self.timestep_sampling.sample(u, schedule))

    def per_element_levels(
        self, level: NoiseLevel, spatial: torch.Size | tuple[int, ...], rng: StepRandomNumbers
    ) -> NoiseLevel:
        """Maps (B, 1, *spatial) of levels (B,), in which parts of some samples have other levels or are clean."""
        if not self.per_element:
            return level
        schedule, t = self.process.schedule, torch.as_tensor(level.t)
        mixed = per_element_times(t, spatial, self.timestep_sampling, schedule, self.per_element, rng)
        return level if mixed is None else schedule.level(mixed)

    def error(self, model: nn.Module, x0: Tensor, eps: Tensor, level: NoiseLevel, conditioning: Conditioning) -> Tensor:
        """The loss of each sample at given noise and levels; if the level is a map, clean elements have no loss.

        Args:
            model: The network, called as `model(x, level, conditioning)`.
            x0: Clean data, (B, C, *spatial).
            eps: Noise, (B, C, *spatial).
            level: Noise level, (B,), or a map (B, 1, *spatial).
            conditioning: Conditioning of each sample.

        Returns:
            The losses, (B,).
        """
        output_space = self.process.parameterization
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
