"""What an optimiser component is: options, and the torch optimiser they make for a model."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn


class Optimizer(ABC):
    """Options of an update rule.

    Attributes:
        lr: The learning rate after warm-up and before decay; the loop scales it.
    """

    lr: float

    @abstractmethod
    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        """A torch optimiser over the model's parameters."""
