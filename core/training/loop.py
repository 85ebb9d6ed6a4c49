"""The one training loop, for every modality. It yields its state after each step: callers log, preview, save, stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.loader import Order, load_batch
from ..types import Dataset
from .build import Parts
from .ema import EMA
from .loss import batch_losses
from .lr import TrainingBudget, learning_rate


@dataclass
class State:
    """Training after `step` optimiser steps.

    loss:      mean loss of the step's global batch, on the device
    by_sample: loss of each row, (batch,), and tau (batch,), its noise level, on the device
    rate:      learning rate of the step
    norm:      norm of the gradient before clipping, on the device
    """

    step: int
    loss: Tensor
    by_sample: Tensor
    tau: Tensor
    rate: float
    norm: Tensor


class Trainer:
    """What training changes: weights, their average, the optimiser's state, the number of steps.

    parts:  what the recipe builds; the codec is fitted
    data:   the training split
    device: where to train
    """

    def __init__(self, parts: Parts, data: Dataset, device: torch.device):
        self.parts, self.data, self.device = parts, data, device
        self.train = parts.recipe.train
        self.model = parts.model.to(device).train()
        if device.type == "cuda" and len(parts.spec.latent) == 3:
            # On a GPU convolutions want channels last; on a processor in bf16 its group norm costs 40 % of a step.
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts.codec.to(device)
        self.ema = EMA(self.model, self.train.ema.half_life)
        self.rule = self.train.optimizer.build()
        self.optimizer = self.rule.make(self.model)
        self.order = Order(parts.recipe.seed, len(data))
        self.step = 0

    def steps(self, clock: TrainingBudget) -> Iterator[State]:
        """Steps until the clock's end; may be left at any yield and continued later."""
        while (progress := clock.progress(self.step)) < 1:
            yield self.one(progress)

    def one(self, progress: float) -> State:
        """One optimiser step; `progress` (0 to 1) sets the learning rate."""
        rate = learning_rate(self.train, self.rule.lr, self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        losses, taus = [], []
        size = -(-self.train.batch // self.train.accumulate)
        for first in range(0, self.train.batch, size):
            rows = range(first, min(self.train.batch, first + size))
            batch = load_batch(self.data, self.order, self.step, self.train.batch, rows)
            found = batch_losses(self.parts, self.model, batch, self.step, self.device)
            (found.per_sample.sum() / self.train.batch).backward()
            losses.append(found.per_sample.detach())
            taus.append(torch.as_tensor(found.level.tau))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.train.clip or float("inf"))
        self.optimizer.step()
        self.step += 1
        self.ema.update(self.model, self.step)
        by_sample = torch.cat(losses)
        return State(self.step, by_sample.mean(), by_sample, torch.cat(taus), rate, norm)

    def sources(self, step: int) -> list[str]:
        """The examples of the batch that made optimiser step `step` (from 1): for messages."""
        rows = range(self.train.batch)
        return [self.data.item(self.order.example((step - 1) * self.train.batch + r), None).source for r in rows]
