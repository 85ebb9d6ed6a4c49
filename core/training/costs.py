"""What a training step of a recipe costs: parameters, FLOPs, memory and time, measured with a few real rows.

FLOPs are counted by `torch.utils.flop_counter`: 2 for each multiplication and addition of matrix products, convolutions
and attention, forward and backward; element-wise operations are not counted. A step costs

    FLOPs(step) = batch x FLOPs(row) + FLOPs(optimizer).

Activations are what autograd saves for the backward pass, each storage once, without the weights: a + b x rows bytes.
With `train.shard`, each of n devices that share one copy keeps, of weights, gradients, average and optimizer state D
bytes of divided weights, D / n, and gathers G bytes: weights and gradients that belong to no block, and those of two
blocks, of which one is computed while the next is sent. This follows from how FSDP2 works, and was not measured.

The time is that of real steps, of which the fastest counts, since other programs can only make it longer. Next to it
stands the share of what the machine reaches in a product of large matrices, FLOPs(step) / seconds / matmul rate: what
is missing to 1 are element-wise operations, which are limited by the memory, small matrices, and calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..config.recipe import Recipe
from ..data.loader import Batch
from ..nn.activation_checkpointing import find_blocks
from ..nn.frozen import FrozenNetwork
from ..types import BadInput
from ..util.device import autocast, choose_device, uses_bf16
from ..util.limits import total_memory
from .build import ModelComponents, build_dataset, build_model_components, check_conditions
from .sharding import find_divided_weights
from .step import Trainer

ROWS = (1, 3)  # rows of the batches from which the costs of a row are found
FILLED = 0.9  # share of a device's memory that a run can fill
STATE_COPIES = 5  # weights, gradients, average and two moments, before anything is built
DEVICES = (1, 8, 64)
MACHINE = 8  # devices of a machine, which train.shard=hybrid needs
_REPEATS = 5


@dataclass(frozen=True)
class StepCosts:
    """The costs of a step; sizes are in bytes.

    Attributes:
        parameters: Trained parameters.
        codec_parameters: Parameters of the codec's network, which are not trained.
        batch: Rows of a step.
        accumulate: Parts that a batch is computed in.
        flops_row: FLOPs of a row, forward and backward.
        flops_optimizer: FLOPs of the optimizer's update.
        weights: The weights, and the codec.
        gradients: Their gradients.
        average: The average of the weights.
        optimizer: State of the optimizer.
        activations_fixed: Saved activations that do not depend on the number of rows.
        activations_row: Saved activations of a row.
        checkpoint: Size of a checkpoint.
        matmul_rate: FLOP/s of a matrix product, in the precision of the training.
        measured_s: Time of the fastest of some real steps, data included.
        shard: `train.shard`: which devices share one copy of the state.
        divided: Weights, gradients, average and optimizer state of the weights that devices can divide.
        gathered: Weights and gradients that a device holds at once, in addition to its part.
    """

    parameters: int
    codec_parameters: int
    batch: int
    accumulate: int
    flops_row: float
    flops_optimizer: float
    weights: int
    gradients: int
    average: int
    optimizer: int
    activations_fixed: float
    activations_row: float
    checkpoint: int
    matmul_rate: float
    measured_s: float
    shard: str = "none"
    divided: int = 0
    gathered: int = 0

    @property
    def flops_step(self) -> float:
        """FLOPs of a step."""
        return self.batch * self.flops_row + self.flops_optimizer

    @property
    def state(self) -> int:
        """Memory that does not depend on the batch, without activations."""
        return self.weights + self.gradients + self.average + self.optimizer

    @property
    def activations(self) -> float:
        """Activations of one of the parts of a batch."""
        return self.activations_fixed + -(-self.batch // self.accumulate) * self.activations_row

    @property
    def memory(self) -> float:
        """Memory of a step on one device."""
        return self.state + self.activations

    @property
    def matmul_share(self) -> float:
        """Share of the matmul rate that a step reaches, see the module."""
        return self.flops_step / self.measured_s / self.matmul_rate

    def state_of(self, devices: int) -> float:
        """Memory on each of several devices, without activations: state, or state - D + D / n + G with shards."""
        copies = {"full": devices, "hybrid": min(devices, MACHINE)}.get(self.shard, 1)
        return self.state if copies == 1 else self.state - self.divided + self.divided / copies + self.gathered

    def rows_that_fit(self, memory: float, devices: int = 1) -> int:
        """Rows that each device with this memory can compute at once: floor((FILLED memory - state - a) / b)."""
        free = FILLED * memory - self.state_of(devices) - self.activations_fixed
        return max(0, int(free // max(1.0, self.activations_row)))

    def fit(self, memory: float, devices: int) -> dict[str, Any]:
        """How the recipe's batch fits on several devices, each of which has its share of the rows.

        Each holds all weights, or its part of them, see `train.shard`.

        Args:
            memory: Bytes of each device.
            devices: Number of devices.
        """
        rows = self.rows_that_fit(memory, devices)
        share = -(-self.batch // devices)
        return {
            "devices": devices,
            "rows_at_once": rows,
            "largest_batch": rows * devices,
            "fits": rows > 0,
            "accumulate": -(-share // rows) if rows else None,
            "memory_used": round(
                self.state_of(devices) + self.activations_fixed + min(rows, share) * self.activations_row
            ),
        }

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain values."""
        names = ("flops_step", "state", "activations", "memory", "matmul_share")
        return {**asdict(self), **{name: getattr(self, name) for name in names}}


def measure_step_costs(recipe: Recipe, steps: int = 3) -> StepCosts:
    """Measure the costs of a training step of a recipe; no file is written.

    Args:
        recipe: The recipe, whose data is read for one batch and a few steps. The codec is not fitted, and nothing is
            compiled: operations of compiled functions cannot be counted.
        steps: Number of steps whose time is measured, after one more.

    Raises:
        BadInput: The recipe cannot be trained, or its network needs more memory than the machine has.
    """
    recipe = recipe.with_overrides([("train.compile", False)])
    data, spec = build_dataset(recipe)
    parts = build_model_components(recipe, spec, _check_memory)
    check_conditions(parts, data)
    for condition in parts.model.conditions.values():
        if hasattr(condition, "fit"):
            condition.fit(data.item(i, None) for i in range(min(len(data), 8)))  # type: ignore[operator]
    device = choose_device(recipe.train.device)
    trainer = Trainer(parts, data, device)
    try:
        return _measure(parts, trainer, steps)
    finally:
        trainer.close()


def _measure(parts: ModelComponents, trainer: Trainer, steps: int) -> StepCosts:
    train, device = trainer.train, trainer.device
    batch = trainer.data_of_steps[0]
    trainer.train_step(0.0)  # builds the state of the optimizer
    times = [seconds_of(lambda: trainer.train_step(0.0), device) for _ in range(steps)]
    flops, saved = [], []
    for rows in ROWS:
        part = _first_rows(batch, rows)
        with FlopCounterMode(display=False) as counter:
            loss, size = _loss_and_activations(trainer, part)
            loss.backward()
        flops.append(counter.get_total_flops())
        saved.append(size)
    with FlopCounterMode(display=False) as counter:
        trainer.optimizer.step()
    ratio = len(_first_rows(batch, ROWS[1]).rows) - len(_first_rows(batch, ROWS[0]).rows)
    per_row = (saved[1] - saved[0]) / ratio if ratio else float(saved[0])
    trained = [p for p in parts.model.parameters() if p.requires_grad]
    state = [v for one in trainer.optimizer.state_dict()["state"].values() for v in one.values()]
    stored = _bytes(trainer.model.state_dict().values()) + _bytes(parts.codec.state_dict().values())
    average = _bytes(trainer.ema.model.state_dict().values())
    optimizer = sum(_bytes([torch.as_tensor(value)]) for value in state)
    extra = sum(_bytes(module.state_dict().values()) for module in trainer.objective.state().values())
    divided, gathered = _measure_shards(trainer) if train.shard != "none" else (0, 0)
    held = [module.network for module in parts.codec.modules() if isinstance(module, FrozenNetwork)]
    return StepCosts(
        parameters=sum(p.numel() for p in trained),
        codec_parameters=sum(p.numel() for one in (parts.codec, *held) for p in one.parameters()),
        batch=train.batch,
        accumulate=train.accumulate,
        flops_row=(flops[1] - flops[0]) / ratio if ratio else float(flops[0]),
        flops_optimizer=float(counter.get_total_flops()),
        weights=stored + sum(_bytes(one.state_dict().values()) for one in held),
        gradients=_bytes(trained),
        average=average,
        optimizer=optimizer,
        activations_fixed=max(0.0, saved[0] - per_row * len(_first_rows(batch, ROWS[0]).rows)),
        activations_row=per_row,
        checkpoint=stored + average + optimizer + extra,
        matmul_rate=measure_matmul_rate(device, train.precision),
        measured_s=min(times),
        shard=train.shard,
        divided=divided,
        gathered=gathered,
    )


def _measure_shards(trainer: Trainer) -> tuple[int, int]:
    """D and G of the module, in bytes."""
    trainer.rule.check_can_shard()
    weights = find_divided_weights(trainer.model)
    state = [v for p in weights for v in trainer.optimizer.state.get(p, {}).values() if torch.is_tensor(v) and v.ndim]
    own = set(weights)
    trained = [p for p in weights if p.requires_grad]
    divided = 2 * _bytes(weights) + _bytes(trained) + _bytes(state)  # weights and their average, gradients, state
    blocks = [[p for p in block.parameters() if p in own] for block in find_blocks(trainer.model.network)]
    in_blocks = {p for block in blocks for p in block}
    largest = sorted((_bytes(block) for block in blocks), reverse=True)[:2]
    gathered = 2 * (_bytes(p for p in weights if p not in in_blocks) + sum(largest))
    return divided, gathered // (2 if uses_bf16(trainer.device, trainer.train.precision) else 1)


def _check_memory(outline: nn.Module) -> None:
    """Raise BadInput if the network, which has no values yet, cannot be trained in the memory of this machine."""
    needed = STATE_COPIES * _bytes(outline.parameters())
    if needed > total_memory():
        count = sum(p.numel() for p in outline.parameters())
        raise BadInput(
            f"the network has {count / 1e6:.0f} M weights, and weights, gradients, average and optimizer need about "
            f"{needed / 1e9:.1f} GB: this machine has {total_memory() / 1e9:.1f} GB. Plan it on a larger one"
        )


def _first_rows(batch: Batch, rows: int) -> Batch:
    return Batch(batch.step, batch.rows[:rows], batch.items[:rows], batch.media[:rows])


def _loss_and_activations(trainer: Trainer, batch: Batch) -> tuple[Tensor, int]:
    """The loss of a batch, and the bytes that are kept for its backward pass, without the weights.

    With `train.checkpoint_activations` these are the inputs of the blocks, and what is saved outside of them.
    """
    kept = {p.untyped_storage().data_ptr() for p in trainer.model.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in kept:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    def pack_inputs(block: nn.Module, inputs: Any) -> None:
        for tensor in tree_leaves(inputs):
            if isinstance(tensor, Tensor):
                pack(tensor)

    blocks = find_blocks(trainer.model.network) if trainer.train.checkpoint_activations else []
    hooks = [block.register_forward_pre_hook(pack_inputs) for block in blocks]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = trainer.loss(batch).per_sample.sum()
    for hook in hooks:
        hook.remove()
    return loss, sum(found.values())


def seconds_of(act: Callable[[], object], device: torch.device) -> float:
    """Seconds that an action takes on a device."""
    _wait(device)
    began = time.perf_counter()
    act()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def measure_matmul_rate(device: torch.device, precision: str) -> float:
    """FLOP/s of a product of two square matrices, 2 n^3 FLOPs, in the precision of a training."""
    n = 512 if device.type == "cpu" else 4096
    a, b = torch.ones(n, n, device=device), torch.ones(n, n, device=device)
    with torch.no_grad(), autocast(device, precision):
        return 2 * n**3 / min(seconds_of(lambda: a @ b, device) for _ in range(_REPEATS))


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
