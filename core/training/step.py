"""The training step, for every modality and objective: batch -> loss -> gradient -> weights -> their average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..conditioning.base import gather
from ..data.loader import Batch, StepBatches, load_steps
from ..nn.layers.dropout import keyed_dropout
from ..objectives.base import LossResult, StepRandom
from ..types import Conditioning, Dataset, sent
from ..util.device import autocast
from .build import Parts, condition_values
from .ema import EMA
from .lr import learning_rate


@dataclass
class StepResult:
    """What one optimiser step gives; tensors are on the training device.

    Attributes:
        step: optimiser steps made, this one included.
        loss: mean loss of the step's batch, a scalar.
        per_sample: loss of each row, (batch,).
        logged: what the objective logs of each row, name -> (batch,).
        lr: learning rate of the step.
        grad_norm: norm of the gradient before clipping, a scalar.
    """

    step: int
    loss: Tensor
    per_sample: Tensor
    logged: Mapping[str, Tensor]
    lr: float
    grad_norm: Tensor


class Trainer:
    """What training changes: weights, their average, the optimiser's state, the number of steps.

    Args:
        parts: what the recipe builds; the codec is fitted.
        data: the training split.
        device: where to train.
        rank: number of this process among those that share the batch.
        world: number of processes.
    """

    def __init__(self, parts: Parts, data: Dataset, device: torch.device, rank: int = 0, world: int = 1):
        self.parts, self.data, self.device = parts, data, device
        self.train = parts.recipe.train
        self.model = parts.model.to(device).train()
        if device.type == "cuda" and len(parts.spec.latent) == 3:
            # On a GPU convolutions want channels last; on a processor in bf16 its group norm costs 40 % of a step.
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts.codec.to(device)
        self.objective = parts.objective
        self.objective.to(device)
        self.ema = EMA(self.model, self.train.ema.half_life)
        self.rule = self.train.optimizer.build()
        self.optimizer = self.rule.make(self.model)
        self.data_of_steps = StepBatches(data, parts.recipe.seed, self.train.batch, rank, world)
        self.step = 0
        self._batches: Iterator[Batch] | None = None

    def train_step(self, progress: float) -> StepResult:
        """One optimiser step; `progress` (0 to 1) of the run sets the learning rate."""
        lr = learning_rate(self.train, self.rule.lr, self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        results = []
        for batch in self._next_batch().split(self.train.accumulate):
            result = self.loss(batch)
            (result.per_sample.sum() / self.train.batch).backward()
            results.append(LossResult(result.per_sample.detach(), result.logged))
        grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.train.clip or float("inf"))
        self.optimizer.step()
        self.step += 1
        self.ema.update(self.model, self.step)
        self.objective.after_step(self.model, self.step)
        per_sample = torch.cat([r.per_sample for r in results])
        logged = {name: torch.cat([r.logged[name] for r in results]) for name in results[0].logged}
        return StepResult(self.step, per_sample.mean(), per_sample, logged, lr, grad_norm)

    def loss(self, batch: Batch) -> LossResult:
        """Encode a batch and ask the objective; every random number is keyed by (seed, row, step)."""
        seed, parts = self.parts.recipe.seed, self.parts
        rng = StepRandom(seed, batch.step, self.train.batch, batch.rows, self.device)
        with torch.no_grad():
            x0 = parts.codec.encode(batch.media.to(self.device, torch.float32, non_blocking=True))
            lengths = batch.lengths(parts.spec)
            valid = None if lengths is None else parts.codec.valid(lengths, parts.spec.size)
        conditioning = self._conditioning(batch, rng, None if valid is None else sent(valid, x0))
        with autocast(self.device, self.train.precision), keyed_dropout(seed, batch.rows, batch.step):
            return self.objective.loss(self.model, x0, conditioning, rng)

    def _conditioning(self, batch: Batch, rng: StepRandom, valid: Tensor | None) -> Conditioning:
        """What guides each sample; values are dropped at random, which classifier-free guidance needs."""
        values = condition_values(self.model, batch.items)
        for name, condition in self.model.conditions.items():
            dropped = rng.uniform(f"drop {name}") < condition.drop  # type: ignore[operator]
            values[name] = [None if d else v for v, d in zip(values[name], dropped.tolist(), strict=True)]
        return replace(gather(self.model.conditions, values), valid=valid)

    def _next_batch(self) -> Batch:
        if self._batches is None:
            workers = self.train.workers
            if workers == "auto" and self.device.type == "cpu":
                workers = 0  # training itself keeps every core busy
            self._batches = load_steps(self.data_of_steps, self.step, workers, pin=self.device.type == "cuda")
        return next(self._batches)

    def close(self) -> None:
        """Stop the processes that read data; the next step starts them again."""
        if isinstance(self._batches, Iterator):
            self._batches.close()  # type: ignore[attr-defined]
        self._batches = None

    def sources(self, step: int) -> list[str]:
        """The examples of the batch that made optimiser step `step` (from 1): for messages."""
        return self.data_of_steps.sources(step - 1)
