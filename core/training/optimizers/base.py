"""Base class of optimiser components: options, from which a torch optimiser is built."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn


class Optimizer(ABC):
    """Options of an optimiser.

    Attributes:
        lr: Learning rate after warm-up and before decay; the training loop scales it.
    """

    lr: float

    @abstractmethod
    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        """A torch optimiser over the model's parameters."""

    def keeps_state(self) -> bool:
        """Whether the optimiser keeps state between steps, as Adam does; without it a run cannot be resumed exactly."""
        weight = nn.Parameter(torch.zeros(1, 1))
        weight.grad = torch.zeros(1, 1)
        optimizer = self.make(nn.ParameterList([weight]))
        optimizer.step()
        return bool(optimizer.state_dict()["state"])
