"""Exponential moving average (EMA) of the weights, with its half-life in steps."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    """A copy of a model with averaged weights: ema <- beta ema + (1 - beta) weights, beta = 2^(-1/h).

    h = min(half_life, step / 10): at the start of training the average is shorter, since early weights soon become
    outdated (the same ramp as in Karras et al. 2022, arXiv:2206.00364, appendix F.2).

    Args:
        model: The model that is trained; the average starts as a copy of it.
        half_life: Half-life of a weight's contribution, in steps.
    """

    def __init__(self, model: M, half_life: float):
        self.half_life = half_life
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the average with the weights after `step` optimiser steps; buffers are copied."""
        h = min(self.half_life, step / 10)
        beta = 0.5 ** (1 / h) if h > 0 else 0.0
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - beta)  # type: ignore[attr-defined]
        for averaged, trained in zip(self.model.buffers(), model.buffers(), strict=True):
            averaged.copy_(trained)
