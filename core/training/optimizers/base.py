"""Base class of optimiser components: options, from which a torch optimiser is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...types import BadInput

if TYPE_CHECKING:
    from ..sharding import Shards


class Optimizer(ABC):
    """Options of an optimiser.

    Attributes:
        lr: Learning rate after warm-up and before decay; the training loop scales it.
    """

    lr: float

    @abstractmethod
    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        """A torch optimiser over the model's parameters."""

    def shard(self, optimizer: torch.optim.Optimizer, shards: Shards) -> None:
        """Prepare an optimiser of `make` for parts of weights, see `train.shard`.

        It is called before the optimiser's parameters are replaced by `shards.parts`: ranges of rows, of which
        `shards.whole` gives the whole. Override it for an optimiser that is right on parts.

        Args:
            optimizer: What `make` has returned.
            shards: The parts of the weights.

        Raises:
            BadInput: The optimiser cannot update parts of weights.
        """
        self.check_can_shard()

    def check_can_shard(self) -> None:
        """Raise BadInput unless the optimiser can update parts of weights, which those that override `shard` can."""
        if type(self).shard is Optimizer.shard:
            raise BadInput(
                f"train.shard: the optimizer {type(self).__name__} does not say that it can update parts of weights: "
                "use adamw or muon, or leave train.shard out"
            )

    def keeps_state(self) -> bool:
        """Whether the optimiser keeps state between steps, as Adam does; without it a run cannot be resumed exactly."""
        weight = nn.Parameter(torch.zeros(1, 1))
        weight.grad = torch.zeros(1, 1)
        optimizer = self.make(nn.ParameterList([weight]))
        optimizer.step()
        return bool(optimizer.state_dict()["state"])
