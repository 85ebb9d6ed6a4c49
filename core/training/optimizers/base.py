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
