"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ...types import BadInput
from .base import Optimizer

if TYPE_CHECKING:
    from ..sharding import Shards


class AdamW(Optimizer):
    """Adam with decoupled weight decay; vectors (biases, scales of norms) are not decayed.

    Args:
        lr: Learning rate.
        betas: Decay rates of the running means of the gradient and of its square.
        eps: Added to the root of the second mean.
        weight_decay: Weight decay per step, in units of lr.
    """

    def __init__(
        self, lr: float = 3e-4, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-8, weight_decay: float = 0.0
    ):
        if lr <= 0:
            raise BadInput(f"adamw's lr must be positive, not {lr}")
        self.lr, self.betas, self.eps, self.weight_decay = lr, tuple(betas), eps, weight_decay

    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        """torch.optim.AdamW, fused if the device supports it."""
        params = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in params if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
        ]
        fused = all(p.device.type in ("cpu", "cuda") for p in params)
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=fused)  # type: ignore[arg-type]

    def shard(self, optimizer: torch.optim.Optimizer, shards: Shards) -> None:
        """Nothing: the update of an element depends on no other one."""
