"""Base class of training objectives: clean data and a model -> a loss for each sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ..types import Conditioning
from ..util.rng import KeyedNoise, keyed_generator, stratified_uniforms


@dataclass(frozen=True)
class LossResult:
    """The loss of a batch.

    Attributes:
        per_sample: Loss of each sample, (B,); the gradient is that of its sum over the batch.
        logged: Name -> one number per sample, (B,). From `tau`, the noise level of each sample, the log shows the loss
            by noise level; of each other name it shows the mean, under `objective`.
    """

    per_sample: Tensor
    logged: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StepRandomNumbers:
    """Random numbers of one training step, keyed by (seed, row, purpose, step).

    A row gets the same numbers for any division of the global batch into processes and accumulated parts.

    Attributes:
        seed: Seed of the run.
        step: Optimiser steps made before this one.
        total: Number of rows in the global batch.
        rows: Numbers of this batch's rows in the global batch.
        device: Device that draws the tensors.
    """

    seed: int
    step: int
    total: int
    rows: Sequence[int]
    device: torch.device | str = "cpu"

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers (B, *shape), float32, on the device."""
        return KeyedNoise(self.seed, self.rows, tuple(shape), self.device).normal(purpose, self.step)

    def uniform(self, purpose: str) -> Tensor:
        """A number in [0, 1) for each row, (B,), on the host, so that a step need not wait for the device."""
        return KeyedNoise(self.seed, self.rows, (1,)).uniform(purpose, self.step)

    def stratified(self) -> Tensor:
        """A number in [0, 1) for each row, (B,) float64, on the host; each stratum has one row of the global batch."""
        return stratified_uniforms(self.seed, self.step, self.total, self.rows)

    def generator(self, i: int, purpose: str) -> np.random.Generator:
        """A numpy generator for choices on the host about row i of this batch."""
        return keyed_generator(self.seed, self.rows[i], purpose, self.step)


class Objective(ABC):
    """A training objective, built from the recipe section `objective`.

    An objective may contain models, such as a teacher: `to` moves them to the training device, `after_step` updates
    them, and `state` names those that a checkpoint must save so that a resumed run gives the same result.

    Attributes:
        per_element: Share of training samples with per-element noise levels: an attribute of the class, or a parameter
            of the constructor. Above 0, edits give the network a map of levels for what is known.
    """

    per_element: float = 0.0

    @abstractmethod
    def loss(self, model: nn.Module, x0: Tensor, conditioning: Conditioning, rng: StepRandomNumbers) -> LossResult:
        """The loss of each sample of a batch.

        Args:
            model: The network that is trained, called as `model(x, level, conditioning)`.
            x0: Clean data, (B, C, *spatial).
            conditioning: Conditioning of each sample, in which dropped conditions are replaced already.
            rng: Random numbers of this step.

        Returns:
            The loss of each sample, averaged over its valid elements, and the values to log.
        """

    def to(self, device: torch.device) -> None:  # noqa: B027
        """Move the models that the objective contains to a device; by default there are none."""

    def after_step(self, model: nn.Module, step: int) -> None:  # noqa: B027
        """Called with the trained model after optimiser step `step`; does nothing by default."""

    def state(self) -> Mapping[str, nn.Module]:
        """Name -> module that training changes and each checkpoint saves; by default empty."""
        return {}


def valid_mean(error: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over each sample's valid elements: error (B, C, *spatial), valid (B, 1, *spatial) or None -> (B,)."""
    if valid is None:
        return error.flatten(1).mean(1)
    total = (error * valid).flatten(1).sum(1)
    return total / (valid.flatten(1).sum(1) * error.shape[1]).clamp(min=1)
