"""The training step, for every modality and objective: batch -> loss -> gradient -> weights -> EMA."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..conditioning.base import EmbeddedValues, build_conditioning
from ..data.loader import Batch, StepBatchDataset, iterate_batches
from ..nn.activation_checkpointing import checkpoint_blocks, find_blocks
from ..nn.compilation import compile_blocks, find_compiler_error
from ..nn.layers.dropout import keyed_dropout
from ..nn.model import ConditionedNetwork
from ..objectives.base import LossResult, StepRandomNumbers, valid_mean
from ..types import BadInput, Conditioning, Dataset, NoiseLevel, move_like
from ..util.device import autocast
from ..util.notes import issue_note
from .build import ModelComponents, condition_values
from .checkpoint import optimizer_state
from .distributed import Ranks
from .ema import EMA, ShardedEMA
from .latents import LatentCache
from .lr import learning_rate
from .sharding import Shards

T = TypeVar("T")


@dataclass
class StepResult:
    """Result of one optimiser step; losses are on the training device, logged values where the objective has them.

    Attributes:
        step: Optimiser steps made, including this one.
        loss: Mean loss of the step's global batch, a scalar.
        per_sample: Loss of each row of the global batch, (batch,).
        logged: Values that the objective logs, name -> (batch,).
        lr: Learning rate of the step.
        grad_norm: Norm of the gradient before clipping, a scalar.
        layer_norms: The same of each group of layers, name -> scalar; empty at most steps.
    """

    step: int
    loss: Tensor
    per_sample: Tensor
    logged: Mapping[str, Tensor]
    lr: float
    grad_norm: Tensor
    layer_norms: Mapping[str, Tensor] = field(default_factory=dict)


def gradient_norms_by_layer(model: nn.Module) -> dict[str, Tensor]:
    """The norm of the gradient of each group of layers, name -> scalar on the device.

    A group is a part of the network (`stem`), an element of a list of parts (`down.0`, `blocks.3`), or a condition.
    """
    groups: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            words = name.removeprefix("network.").split(".")
            several = len(words) > 2 and (words[1].isdecimal() or words[0] == "conditions")
            groups.setdefault(".".join(words[: 1 + several]), []).append(parameter.grad)
    return {name: torch.nn.utils.get_total_norm(gradients) for name, gradients in groups.items()}


class Trainer:
    """The state that training changes: weights, their average, the optimiser's state, the number of steps.

    Weights and codec are those of rank 0 from the start. The state is whole until `shard`, so that it can be loaded.

    Args:
        parts: The objects that the recipe describes; the codec is fitted.
        data: The training split.
        device: Training device.
        ranks: The processes that share the batch; None: this one alone.

    Attributes:
        latents: Encoded examples of earlier steps; None: every batch is encoded.
        shards: The parts of the weights that this rank keeps; None: all of them.
        compiled: Number of blocks of the network that run compiled, see `train.compile`.
        waited: Seconds for which steps have waited for their batches.
    """

    def __init__(self, parts: ModelComponents, data: Dataset, device: torch.device, ranks: Ranks | None = None):
        self.ranks = ranks or Ranks()
        self.parts, self.data, self.device = parts, data, device
        self.train = parts.recipe.train
        self._divides = self.train.shard != "none" and self.ranks.world > 1
        self.shards: Shards | None = None
        home = torch.device("cpu") if self._divides else device  # a whole model may not fit into the device's memory
        self.model = parts.model.to(home).train()
        if home.type == "cuda" and len(parts.spec.latent) == 3:
            # On a GPU convolutions are faster with channels last; on a CPU group norm in bf16 is then 40 % of a step.
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts.codec.to(device)
        self.objective = parts.objective
        self.objective.to(device)
        self.ranks.share_tensors((self.model, parts.codec))
        self.ema = EMA(self.model, self.train.ema.half_life)
        self.rule = self.train.optimizer.build()
        self.optimizer = self.rule.make(self.model)
        self.data_of_steps = StepBatchDataset(
            data, parts.recipe.seed, self.train.batch, self.ranks.rank, self.ranks.world
        )
        self.latents: LatentCache | None = None
        self.step, self.waited = 0, 0.0
        self._batches: Iterator[Batch] | None = None
        self._loaded: Batch | None = None  # the next step's batch
        self.compiled = self._compile()
        if self.train.checkpoint_activations and not checkpoint_blocks(self.model.network):
            raise BadInput(
                "train.checkpoint_activations: the network has none of the blocks of sonolux (core/nn/layers), so that "
                "nothing would be computed again: leave it out"
            )

    def _compile(self) -> int:
        """Compile the blocks of the network, if `train.compile` says so; their number. The average is not compiled."""
        choice, where = self.train.compile, self.device.type
        if choice is False or (choice == "auto" and where != "cuda") or not find_blocks(self.model.network):
            if choice is True:
                raise BadInput(
                    "train.compile: the network has none of the blocks of sonolux (core/nn/layers), so that nothing "
                    "would be compiled: leave it out"
                )
            return 0
        if (error := find_compiler_error(self.device)) is None:
            return compile_blocks(self.model.network)
        if choice is True:
            raise BadInput(f"train.compile: torch cannot compile for {where} here ({error}): set train.compile=false")
        issue_note(
            f"the network is not compiled, since torch cannot do so for {where} here ({error}): steps are slower; "
            "train.compile=false leaves this note out",
            stacklevel=2,
        )
        return 0

    def shard(self) -> None:
        """Divide weights, average and optimizer state among the ranks, if `train.shard` says so.

        Raises:
            BadInput: They cannot be divided.
        """
        if not self._divides:
            return
        shards = Shards(self.model, self.ranks, self.device, self.train.shard, self.train.precision)
        self.ema = ShardedEMA(self.ema, shards)
        self.rule.shard(self.optimizer, shards)
        shards.divide_optimizer(self.optimizer)
        shards.answer("state", self._collect_state)
        self.shards = shards

    def act_on_rank_0(self, act: Callable[[], T]) -> T | None:
        """Call `act` on rank 0, where whole tensors are to be had; what it returns, None on other ranks."""
        if self.shards is not None:
            return self.shards.act(act)
        return act() if self.ranks.writes else None

    def state_to_save(self) -> Mapping[str, nn.Module | Mapping[str, Tensor]]:
        """The parts of a checkpoint that training changes, whole; with shards on rank 0, within `act_on_rank_0`."""
        if self.shards is not None:
            return self.shards.request("state")
        return {"model": self.model, "ema": self.ema.model, "optimizer": optimizer_state(self.optimizer)}

    def _collect_state(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The state from all ranks, on the host, on rank 0."""
        shards, ema = self.shards, self.ema
        assert shards is not None and isinstance(ema, ShardedEMA)
        found: dict[str, Mapping[str, Tensor]] = {}
        for name, values in (("model", shards.parts), ("ema", ema.parts)):
            whole = shards.collect_parts(values)
            weights = {key: whole[i] for i, (key, _) in enumerate(self.model.named_parameters()) if i in whole}
            buffers = {key: value for key, value in self.model.state_dict().items() if key not in weights}
            found[name] = weights | (buffers if weights else {})
        divided = [part for group in self.optimizer.param_groups for part in group["params"]]
        state = optimizer_state(self.optimizer)
        scalars = {key: value for key, value in state.items() if value.ndim == 0}
        tensors = {key: value for key, value in state.items() if value.ndim}
        parts = [divided[int(key.partition(".")[0])] for key in tensors]
        wholes = zip(tensors, shards.whole(parts, tensors.values()), strict=True)
        found["optimizer"] = scalars | {key: whole.cpu() for key, whole in wholes if self.ranks.writes}
        return found

    def train_step(self, progress: float) -> StepResult:
        """Make one optimiser step.

        Args:
            progress: Completed fraction of the run, 0 to 1, which determines the learning rate.
        """
        lr = learning_rate(self.train, self.rule.lr, self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        results = []
        with self.ranks.noticing_loss():
            for batch in self._next_batch().split(self.train.accumulate):
                result = self.loss(batch)
                (result.per_sample.sum() / self.train.batch).backward()
                results.append(LossResult(result.per_sample.detach(), result.logged))
        grad_norm, layer_norms = self._sum_and_clip(self.train.clip or float("inf"))
        self.optimizer.step()
        self.step += 1
        self.ema.update(self.model, self.step)
        self.objective.after_step(self.model, self.step)
        per_sample = torch.cat([r.per_sample for r in results])
        logged = {name: torch.cat([r.logged[name] for r in results]) for name in results[0].logged}
        rows = dict(self.ranks.gather_rows({"": per_sample, **logged}))
        per_sample = rows.pop("")
        return StepResult(self.step, per_sample.mean(), per_sample, rows, lr, grad_norm, layer_norms)

    def _sum_and_clip(self, limit: float) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Sum the gradients over the ranks and clip them; the norm before, and those of the groups of layers.

        The latter are computed at the steps that are logged, and not with shards, of which no rank has whole layers.
        """
        others = self.objective.state().values()
        if self.shards is not None:
            return self.shards.sum_and_clip(others, limit), {}
        self.ranks.sum_gradients((self.model, *others))
        logs = (self.step + 1) % self.train.log_every == 0
        layer_norms = gradient_norms_by_layer(self.model) if logs else {}
        return torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit), layer_norms

    def loss(self, batch: Batch) -> LossResult:
        """The objective's loss of a batch, which is encoded first; random numbers are keyed by (seed, row, step)."""
        seed = self.parts.recipe.seed
        rng = StepRandomNumbers(seed, batch.step, self.train.batch, batch.rows, self.device)
        x0, valid = self._encode(batch)
        conditioning = self._conditioning(batch, rng, valid)
        with autocast(self.device, self.train.precision), keyed_dropout(seed, batch.rows, batch.step):
            return self.objective.loss(self.model, x0, conditioning, rng)

    @torch.no_grad()
    def x0_errors(self, batch: Batch, rhos: Sequence[float]) -> Tensor:
        """Mean squared error of the averaged model's estimate of x0 at each noise level, (len(rhos), B).

        Noise is keyed by (seed, row, level), so that other models of the same seed get the same noisy data.
        No condition is dropped, and the precision is float32.

        Args:
            batch: Examples.
            rhos: Noise levels sigma / alpha.
        """
        process, model, errors = self.parts.process, self.ema.model, []
        x0, valid = self._encode(batch)
        first = StepRandomNumbers(self.parts.recipe.seed, 0, len(batch.rows), batch.rows, self.device)
        conditioning = self._conditioning(batch, first, valid, model)
        for number, rho in enumerate(rhos):
            rng = replace(first, step=number)
            found = process.schedule.level_of_rho(rho)
            level = NoiseLevel(float(found.t), float(found.alpha), float(found.sigma))
            x = level.alpha * x0 + level.sigma * rng.normal("held-out error", x0.shape[1:])
            estimate = process.denoiser(model).denoise(x, level, conditioning).x0
            errors.append(valid_mean((estimate - x0).square(), valid))
        return torch.stack(errors)

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The diffused tensor (B, C, *spatial) of a batch, and its valid mask."""
        parts = self.parts
        with torch.no_grad():
            x0 = self.encode(batch.media) if self.latents is None else self.latents(batch.media, self.device)
            lengths = batch.lengths(parts.spec)
            valid = None if lengths is None else parts.codec.valid(lengths, parts.spec.size)
        return x0, None if valid is None else move_like(valid, x0)

    def encode(self, media: Tensor) -> Tensor:
        """Media (B, C, *media) -> x0 (B, C', *spatial) on the training device."""
        return self.parts.codec.encode(media.to(self.device, torch.float32, non_blocking=True))

    def _conditioning(
        self, batch: Batch, rng: StepRandomNumbers, valid: Tensor | None, averaged: ConditionedNetwork | None = None
    ) -> Conditioning:
        """The conditioning of each sample; values are dropped at random, which classifier-free guidance needs.

        For the averaged model, `averaged`, none is dropped.
        """
        model = self.model if averaged is None else averaged
        values = condition_values(model, batch.items)
        for name, condition in model.conditions.items():
            if getattr(condition, "augments", False):
                values[name] = [
                    None if v is None else condition.augment(v, rng.generator(i, f"augment {name}"))  # type: ignore[operator]
                    for i, v in enumerate(values[name])
                ]
            if averaged is None:
                dropped = rng.uniform(f"drop {name}") < condition.drop  # type: ignore[operator]
                values[name] = [None if d else v for v, d in zip(values[name], dropped.tolist(), strict=True)]
        conditioning = build_conditioning(model.conditions, values, partial(self._embed, model))
        return replace(conditioning, valid=valid)

    def _embed(self, model: ConditionedNetwork, name: str, values: Sequence[Any]) -> EmbeddedValues:
        condition: Any = model.conditions[name]
        return condition.embed(condition.encode(values, self.parts.codec))

    def load(self) -> None:
        """Load the batch of the next step, unless this was done.

        Raises:
            TooManyExamplesLost: Too many examples cannot be used.
        """
        if self._loaded is None:
            began = time.perf_counter()
            self._loaded = next(self._iterate())
            self.waited += time.perf_counter() - began

    def _next_batch(self) -> Batch:
        self.load()
        batch, self._loaded = self._loaded, None
        assert batch is not None
        return batch

    def _iterate(self) -> Iterator[Batch]:
        if self._batches is None:
            workers = self.train.workers
            if workers == "auto" and self.device.type == "cpu":
                workers = 0  # training itself uses every core
            self._batches = iterate_batches(self.data_of_steps, self.step, workers, pin=self.device.type == "cuda")
        return self._batches

    def close(self) -> None:
        """Stop the processes that load data; the next step starts them again."""
        if isinstance(self._batches, Iterator):
            self._batches.close()  # type: ignore[attr-defined]
        self._batches = self._loaded = None

    def sources(self, step: int) -> list[str]:
        """Sources of the examples of optimiser step `step` (from 1), for messages."""
        return self.data_of_steps.sources(step - 1)
