"""What a training objective is: from clean data and a model to a loss for each sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ..types import Conditioning
from ..util.rng import Noise, generator, stratified


@dataclass(frozen=True)
class LossResult:
    """The loss of a batch.

    Attributes:
        per_sample: loss of each sample, (B,); its sum over the batch is what is differentiated.
        logged: name -> one number a sample, (B,). `tau`, the noise level of each sample, makes the log show the loss
            by noise level.
    """

    per_sample: Tensor
    logged: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StepRandom:
    """Random numbers of one training step, keyed by (seed, row, purpose, step).

    Row i of a batch gets the same numbers however the global batch is divided among processes or accumulated parts.

    Attributes:
        seed: seed of the run.
        step: optimiser steps made before this one.
        total: rows of the global batch.
        rows: numbers of this batch's rows in the global batch.
        device: where tensors are drawn.
    """

    seed: int
    step: int
    total: int
    rows: Sequence[int]
    device: torch.device | str = "cpu"

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers (B, *shape), float32, on the device."""
        return Noise(self.seed, self.rows, tuple(shape), self.device).normal(purpose, self.step)

    def uniform(self, purpose: str) -> Tensor:
        """A number in [0, 1) for each row, (B,), on the host: reading one back from a device would make a step wait."""
        return Noise(self.seed, self.rows, (1,)).uniform(purpose, self.step)

    def stratified(self) -> Tensor:
        """A number in [0, 1) for each row, (B,) float64, on the host; the global batch has one in each stratum."""
        return stratified(self.seed, self.step, self.total, self.rows)

    def generator(self, i: int, purpose: str) -> np.random.Generator:
        """A numpy generator for choices on the host that belong to row i of this batch."""
        return generator(self.seed, self.rows[i], purpose, self.step)


class Objective(ABC):
    """What a network is trained for. The recipe section `objective` builds one.

    An objective may hold models of its own, such as a teacher: `to` moves them to the training device, `after_step`
    lets them follow the student, and `state` names those that a checkpoint must hold so that a run resumes exactly.
    """

    @abstractmethod
    def loss(self, model: nn.Module, x0: Tensor, conditioning: Conditioning, rng: StepRandom) -> LossResult:
        """The loss of each sample of a batch.

        Args:
            model: the network that is trained, called as `model(x, level, conditioning)`.
            x0: clean data, (B, C, *spatial).
            conditioning: what guides each sample, with dropped conditions already replaced.
            rng: random numbers of this step.

        Returns:
            One loss a sample, averaged over the sample's valid elements, and what is logged.
        """

    def to(self, device: torch.device) -> None:  # noqa: B027
        """Move the models that the objective holds to a device; by default it holds none."""

    def after_step(self, model: nn.Module, step: int) -> None:  # noqa: B027
        """Called when `step` optimiser steps are made, with the trained model; by default nothing follows it."""

    def state(self) -> Mapping[str, nn.Module]:
        """name -> module that training changes, saved in each checkpoint; by default none."""
        return {}


def valid_mean(error: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over each sample's valid elements: error (B, C, *spatial), valid (B, 1, *spatial) or None -> (B,)."""
    if valid is None:
        return error.flatten(1).mean(1)
    kept = (error * valid).flatten(1).sum(1)
    return kept / (valid.flatten(1).sum(1) * error.shape[1]).clamp(min=1)
