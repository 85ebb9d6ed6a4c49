"""Sharded training: every rank keeps a part of the weights, of their average and of the optimizer's state.

FSDP2 (`torch.distributed.fsdp.fully_shard`; Zhao et al. 2023, arXiv:2304.11277) divides the network: block by block
its weights are gathered before they are used and freed afterwards, and gradients are summed and divided. A part is a
range of rows of a tensor. Conditions and the embedding of the noise level are small and stay whole on every rank: some
ranks may not use a condition in a step, and the level needs float32.

Optimizer and average work on plain tensors that share the memory of the parts, so that torch's fused updates can be
used. Whatever needs a whole tensor of a part asks `Shards.whole`, in which all ranks take part.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..nn.activation_checkpointing import find_blocks
from ..nn.model import ConditionedNetwork
from ..types import BadInput, Conditioning
from ..util.device import uses_bf16
from .distributed import BUCKET, RankFailed, RankLost, Ranks

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")


class Shards:
    """The parts of a model that this rank keeps; made from a whole model, which is divided in place.

    Rank 0 alone writes checkpoints and makes previews, for which it needs whole tensors. `act` lets it do so: the other
    ranks answer its requests until it has finished.

    Args:
        model: The model, on the host, the same on all ranks.
        ranks: The processes that train together.
        device: Training device of this rank.
        kind: "full": one copy over all ranks; "hybrid": one copy over the ranks of each machine.
        precision: Precision of the training, see `util.device.autocast`. In bf16 weights are sent in bf16; gradients
            are always summed in the type of the weights.

    Attributes:
        parts: For every parameter of the model in its order: the parameter itself if it is whole on every rank, or a
            plain one that shares the memory of this rank's part.
        count: Number of ranks that share one copy.

    Raises:
        BadInput: The machines have different numbers of processes, or the network has weights without rows.
    """

    def __init__(self, model: ConditionedNetwork, ranks: Ranks, device: torch.device, kind: str, precision: str):
        from torch.distributed.tensor import DTensor

        self.ranks, self.device, self._serving = ranks, device, False
        self._answers: dict[str, Callable[[], Any]] = {}
        self.mesh = _make_mesh(ranks, device, kind)
        self.count = self.mesh.size(self.mesh.ndim - 1)
        before = list(model.parameters())
        self._divide(model, uses_bf16(device, precision))
        self._sources = list(model.parameters())
        self.parts = [
            nn.Parameter(p.to_local(), p.requires_grad) if isinstance(p, DTensor) else p for p in self._sources
        ]
        self._source_of = {id(part): p for part, p in zip(self.parts, self._sources, strict=True)}
        self._part_of = {id(p): part for p, part in zip(before, self.parts, strict=True)}
        self.replicated = nn.ParameterList(p for p in self.parts if not self.is_divided(p))

    def _divide(self, model: ConditionedNetwork, bf16: bool) -> None:
        from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

        network, kept = model.network, _kept_whole(model)
        for module in kept:
            module.to(self.device)
        whole = set(model.parameters()) - set(find_divided_weights(model))
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bf16 else None,
            reduce_dtype=torch.float32 if bf16 else None,
            cast_forward_inputs=False,  # the number of the noise level needs float32; autocast converts what it should
        )
        # The output is a view, of which FSDP2 warns: a change in place would leave out its hooks.
        network.register_forward_hook(lambda module, inputs, output: output.clone())
        for module in (*find_blocks(network), network):
            fully_shard(module, mesh=self.mesh, mp_policy=policy, ignored_params=whole)
        network.register_forward_pre_hook(_without_unconditional, prepend=True)
        for module in network.modules():
            if isinstance(module, FSDPModule):  # the loss of a row is divided by the global batch already
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)  # gloo cannot average

    def is_divided(self, part: Tensor) -> bool:
        """Whether one of `parts` is a part of a tensor, and not the whole of it."""
        return self._source_of[id(part)] is not part

    def whole_shape(self, part: Tensor) -> torch.Size:
        """The shape of the tensor of which one of `parts` is a part."""
        return self._source_of[id(part)].shape

    def whole(self, parts: Sequence[Tensor], values: Iterable[Tensor]) -> Iterator[Tensor]:
        """The whole tensors of which every rank has parts, on all ranks, in order.

        Many are gathered together, since one exchange costs as much as some megabytes.

        Args:
            parts: Of `parts`; one that is not divided gives its value itself.
            values: values[i] is this rank's part, divided as parts[i].
        """
        bucket: list[tuple[torch.Size | None, Tensor]] = []
        size = 0
        for part, value in zip(parts, values, strict=True):
            if bucket and (size > BUCKET or value.dtype != bucket[0][1].dtype):
                yield from self._gather(bucket)
                bucket, size = [], 0
            bucket.append((self.whole_shape(part) if self.is_divided(part) else None, value.detach()))
            size += value.nbytes
        yield from self._gather(bucket)

    def _gather(self, bucket: Sequence[tuple[torch.Size | None, Tensor]]) -> Iterator[Tensor]:
        divided = [(shape, value) for shape, value in bucket if shape is not None]
        wholes: Iterator[Tensor] = iter(())
        if divided:
            ranges = [[self._rows(shape, rank) for rank in range(self.count)] for shape, _ in divided]
            widths = [math.prod(shape[1:]) for shape, _ in divided]
            lengths = [
                [len(rows[rank]) * width for rows, width in zip(ranges, widths, strict=True)]
                for rank in range(self.count)
            ]
            flat = torch.cat([value.reshape(-1) for _, value in divided])
            flat = nn.functional.pad(flat, (0, max(map(sum, lengths)) - len(flat)))
            gathered = [torch.empty_like(flat) for _ in range(self.count)]
            with self.ranks.noticing_loss():
                dist.all_gather(gathered, flat, group=self.mesh.get_group(self.mesh.ndim - 1))
            of_ranks = [one[: sum(own)].split(own) for one, own in zip(gathered, lengths, strict=True)]
            wholes = iter([torch.cat(pieces) for pieces in zip(*of_ranks, strict=True)])
        for shape, value in bucket:
            yield value if shape is None else next(wholes).view(shape)

    def _rows(self, shape: torch.Size, rank: int) -> range:
        """The rows of a tensor that a rank keeps, as FSDP2 divides them."""
        step = -(-shape[0] // self.count)
        return range(min(rank * step, shape[0]), min((rank + 1) * step, shape[0]))

    def own(self, part: Tensor, value: Tensor) -> Tensor:
        """This rank's part of a whole tensor, on the training device; one of `parts` is divided alike."""
        if self.is_divided(part):
            rows = self._rows(value.shape, self.mesh.get_local_rank(self.mesh.ndim - 1))
            value = value[rows.start : rows.stop]
        return value.to(self.device).contiguous()

    def divide_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Let an optimizer of the whole model work on the parts, with this rank's part of its state."""
        stored, state = optimizer.state_dict(), {}
        for group in optimizer.param_groups:
            group["params"] = [self._part_of[id(p)] for p in group["params"]]
        for i, part in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            if i in stored["state"]:
                values = {k: torch.as_tensor(v) for k, v in stored["state"][i].items()}
                state[i] = {k: self.own(part, v) if v.ndim else v for k, v in values.items()}
        optimizer.state.clear()
        optimizer.load_state_dict({"state": state, "param_groups": stored["param_groups"]})

    def sum_and_clip(self, modules: Iterable[nn.Module], limit: float) -> Tensor:
        """Move the gradients to `parts`, sum those that are not divided over the ranks, and clip all.

        Args:
            modules: Other modules whose gradients are summed.
            limit: Largest norm of the gradient of the model.

        Returns:
            The norm before clipping, a scalar.
        """
        for part, p in zip(self.parts, self._sources, strict=True):
            if part is not p:
                grad: Any = p.grad
                part.grad, p.grad = None if grad is None else grad.to_local(), None
        self.ranks.sum_gradients((self.replicated, *modules))
        groups = [], []
        for part in self.parts:
            if part.grad is not None:
                groups[self.is_divided(part)].append(part.grad)
        whole, divided = (torch.nn.utils.get_total_norm(grads).to(self.device) ** 2 for grads in groups)
        with self.ranks.noticing_loss():
            dist.all_reduce(divided, group=self.mesh.get_group(self.mesh.ndim - 1))
        norm = (whole + divided).sqrt()
        torch.nn.utils.clip_grads_with_norm_(self.parts, limit, norm)
        return norm

    def answer(self, name: str, collect: Callable[[], Any]) -> None:
        """Call `collect` on every rank when rank 0 requests `name`."""
        self._answers[name] = collect

    def request(self, name: str) -> Any:
        """On rank 0, within `act`: what `collect` of a name gives there."""
        if not self._serving:
            raise RuntimeError(f"{name}: the other ranks do not answer now")
        self.ranks.share({"request": name})
        self._serving = False  # the others are in the middle of an exchange; if it fails, they do not receive an error
        found = self._answers[name]()
        self._serving = True
        return found

    def act(self, act: Callable[[], T]) -> T | None:
        """Let rank 0 act, while the other ranks answer its requests; what `act` returns, None on other ranks.

        An error of `act` ends all ranks, and its message is that of all.

        Raises:
            BadInput: On other ranks, if rank 0 raised BadInput or OSError, after which a run saves its state.
            RankFailed: On other ranks, if rank 0 raised anything else.
        """
        if not self.ranks.writes:
            while "request" in (message := self.ranks.share(None)):
                self._answers[message["request"]]()
            if "failure" in message:
                self.ranks.ends_together = True
                raise BadInput(message["failure"]) if message["is_saved"] else RankFailed(message["failure"])
            return None
        self._serving = True
        try:
            result = act()
        except BaseException as error:
            if self._serving and not isinstance(error, RankLost):
                text = str(error) or type(error).__name__
                self.ranks.share({"failure": text, "is_saved": isinstance(error, (BadInput, OSError))})
                self.ranks.ends_together = True
            raise
        finally:
            self._serving = False
        self.ranks.share({})
        return result

    def collect_parts(self, values: Iterable[Tensor]) -> Mapping[int, Tensor]:
        """Index of a parameter -> its whole tensor on the host, on rank 0; values[i] is divided as `parts[i]`."""
        found = {}
        for i, whole in enumerate(self.whole(self.parts, values)):
            if self.ranks.writes:
                found[i] = whole.detach().cpu()
        return found


def find_divided_weights(model: ConditionedNetwork) -> list[nn.Parameter]:
    """The weights of a model that ranks divide.

    Raises:
        BadInput: One of them cannot be divided.
    """
    whole = {p for module in _kept_whole(model) for p in module.parameters()}
    found = [p for p in model.network.parameters() if p not in whole]
    if any(p.ndim == 0 for p in found):
        raise BadInput("train.shard: the network has a weight that is a single number, which cannot be divided")
    return found


def _kept_whole(model: ConditionedNetwork) -> list[nn.Module]:
    """The parts of a model that every rank keeps whole: the conditions and the embedding of the noise level."""
    level = getattr(model.network, "level", None)
    return [model.conditions, *([level] if isinstance(level, nn.Module) else [])]


def _without_unconditional(network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of a network without what it does not use: FSDP2 gives all of its inputs gradients, which may be 0.

    A weight that no row of a step uses has no gradient, as in one process: an optimizer would decay it otherwise.
    """
    return tuple(replace(one, unconditional={}) if isinstance(one, Conditioning) else one for one in inputs)


def _make_mesh(ranks: Ranks, device: torch.device, kind: str) -> DeviceMesh:
    """The ranks along one axis, or as machines x ranks of a machine."""
    from torch.distributed.device_mesh import init_device_mesh

    local = int(os.environ.get("LOCAL_WORLD_SIZE", ranks.world)) if kind == "hybrid" else ranks.world
    counts = set(ranks.gather_json(local))
    if len(counts) > 1 or ranks.world % local:
        raise BadInput(
            f"train.shard=hybrid needs the same number of processes on each machine, and they have {sorted(counts)}: "
            "start the same number on each, or give train.shard=full"
        )
    if local == ranks.world:
        return init_device_mesh(device.type, (local,), mesh_dim_names=("shard",))
    return init_device_mesh(device.type, (ranks.world // local, local), mesh_dim_names=("replicate", "shard"))
