"""Exponential moving average (EMA) of the weights, with its half-life in steps."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .sharding import Shards

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
        self._average(list(self.model.parameters()), list(model.parameters()), step)
        for averaged, trained in zip(self.model.buffers(), model.buffers(), strict=True):
            averaged.copy_(trained)

    def _average(self, averages: list[Any], values: list[Any], step: int) -> None:
        h = min(self.half_life, step / 10)
        beta = 0.5 ** (1 / h) if h > 0 else 0.0
        torch._foreach_lerp_(averages, values, 1 - beta)  # type: ignore[attr-defined]


class ShardedEMA(EMA[M]):
    """The average of weights of which each rank keeps a part.

    Args:
        whole: The average of the whole model, on the host.
        shards: The parts of the weights.
    """

    def __init__(self, whole: EMA[M], shards: Shards):
        self.half_life, self.shards, self._gathered = whole.half_life, shards, False
        self._outline = whole.model  # without values, except where `model` has gathered them
        averages = zip(shards.parts, whole.model.parameters(), strict=True)
        self.parts = [shards.own(part, value.detach()).clone() for part, value in averages]
        self._release()
        shards.answer("average", lambda: shards.collect_parts(self.parts))

    @property
    def model(self) -> M:  # type: ignore[override]
        """The whole average, gathered from all ranks; on rank 0, within `Shards.act`."""
        if not self._gathered:
            values: dict[int, Tensor] = self.shards.request("average")
            for i, averaged in enumerate(self._outline.parameters()):
                averaged.data = values[i].to(self.shards.device)
            self._gathered = True
        return self._outline

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the average with the weights after `step` optimiser steps; buffers are those of the model."""
        self._average(self.parts, self.shards.parts, step)
        self._release()
        for averaged, trained in zip(self._outline.buffers(), model.buffers(), strict=True):
            averaged.data = trained

    def _release(self) -> None:
        for averaged in self._outline.parameters():
            averaged.data = averaged.data.new_empty(0)
        self._gathered = False
