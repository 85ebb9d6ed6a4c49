"""Work in several processes ("ranks") over torch.distributed: data-parallel training, and sampling.

In training every rank holds the whole model and computes its rows of the global batch. The gradients of all rows are
summed, so that all ranks make the same optimiser step. In sampling each rank generates some of the batches, which rank
0 collects. `torchrun`, or `--nproc` of a command, starts the ranks.

Decisions travel as CPU tensors over gloo, also between GPUs, so that they never wait for a device; gradients and losses
of GPUs travel over NCCL. Nothing is pickled: messages are JSON.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..types import BadInput
from ..util.device import choose_device
from ..util.interrupts import ignore_signals
from ..util.messages import format_count, shorten

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

TIMEOUT = 600.0
"""Seconds without an answer after which another rank counts as lost; a process that ended is noticed at once."""

BUCKET = 25 * 2**20
"""Bytes that are sent together."""

_GRACE = 3.0  # seconds that rank 0 has to report a failure first: nearly always all ranks have the same, a wrong recipe


class RankLost(Exception):
    """Another rank ended, or did not answer in time."""


class RankFailed(Exception):
    """Rank 0 failed in something that the others waited for; the message is that of rank 0."""


@dataclass(frozen=True)
class StepAgreement:
    """What all ranks know before a step.

    Attributes:
        progress: Completed fraction of the run, 0 to 1, by the time of rank 0.
        signal: Number of a signal that a rank received; 0: none did.
        lost: Examples that could not be used so far: index -> why.
    """

    progress: float
    signal: int
    lost: Mapping[int, str]


class Ranks:
    """The place of this process among those that work together; this class does not communicate.

    Args:
        rank: Number of this process, from 0.
        world: Number of processes.

    Attributes:
        ends_together: Whether all ranks know why the run ends, so that rank 0 alone reports it.
    """

    def __init__(self, rank: int = 0, world: int = 1):
        self.rank, self.world, self.ends_together = rank, world, False

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder, prints, and decides."""
        return self.rank == 0

    def choose_device(self, name: str, key: str = "train.device") -> torch.device:
        """The device of this process, see `util.device.choose_device`; `key` is the recipe's, for messages."""
        return choose_device(name)

    def check_batch(self, batch: int) -> None:
        """Raise BadInput unless the ranks can share a global batch equally."""
        if batch % self.world:
            nearest = -(-batch // self.world) * self.world
            raise BadInput(
                f"train.batch is {batch}, and {self.world} processes share it equally: give a "
                f"multiple of {self.world}, such as train.batch={nearest}"
            )

    def share(self, value: Any) -> Any:
        """The value that rank 0 has, which JSON can express."""
        return value

    def gather_json(self, value: Any) -> list[Any]:
        """Values that JSON can express from all ranks."""
        return [value]

    def collect_tensors(self, own: Sequence[Tensor]) -> list[list[Tensor]]:
        """Tensors of any shapes on the host, any number from each rank: on rank 0 one list a rank, none on others."""
        return [list(own)]

    @contextmanager
    def noticing_loss(self) -> Iterator[None]:
        """Within the block, an error of torch's communication raises RankLost."""
        yield

    def share_tensors(self, modules: Iterable[nn.Module]) -> None:
        """Replace the tensors of modules by those of rank 0."""

    def sum_gradients(self, modules: Iterable[nn.Module]) -> None:
        """Replace the gradients of modules by their sums over all ranks."""

    def gather_rows(self, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Name -> values of this rank's rows, (B / world,), become those of the global batch in its order, (B,)."""
        return values

    def agree(self, progress: float, signal: int, failure: Exception | None, lost: Mapping[int, str]) -> StepAgreement:
        """Tell all ranks what this one knows before a step, and learn what they know.

        Args:
            progress: Completed fraction of the run.
            signal: Number of the signal that this process received; 0: none.
            failure: Why this rank cannot load its rows of the batch.
            lost: Examples that could not be used so far.

        Raises:
            BadInput: A rank has a failure.
            OSError: This rank has it.
        """
        if failure is not None:
            raise failure
        return StepAgreement(progress, signal, lost)

    def wait(self) -> None:
        """Wait until all ranks are here."""

    def is_first_report(self) -> bool:
        """Whether no rank has reported a failure; from now on one has."""
        return True

    def leave(self) -> None:
        """End the communication, when all ranks are here; nothing if this was done."""


class JoinedRanks(Ranks):
    """Ranks that communicate over torch.distributed's default group.

    Args:
        store: The key-value store of the job.
        rank: Number of this process, from 0.
        world: Number of processes.
        timeout: Seconds after which a rank that does not answer counts as lost.
    """

    def __init__(self, store: Store, rank: int, world: int, timeout: float = TIMEOUT):
        super().__init__(rank, world)
        self.store, self.timeout = store, timeout
        self._known_lost = 0  # examples that could not be used, of which all ranks know
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        wait = timedelta(seconds=timeout)
        self._communicate(dist.init_process_group, backend, store=store, rank=rank, world_size=world, timeout=wait)

    def choose_device(self, name: str, key: str = "train.device") -> torch.device:
        """A device for each rank of this machine.

        Raises:
            BadInput: The machine has too few GPUs, or ranks cannot communicate on this kind of device.
        """
        device = choose_device(name)
        if device.type == "cuda":
            local, count = int(os.environ.get("LOCAL_RANK", self.rank)), torch.cuda.device_count()
            if local >= count:
                raise BadInput(
                    f"this machine has {format_count(count, 'GPU')}, and more processes than that were started on it: "
                    f"start {count} for each machine (--nproc, or torchrun --nproc-per-node), or give {key}=cpu"
                )
            device = torch.device("cuda", local)
            torch.cuda.set_device(device)
        elif device.type != "cpu":
            if name != "auto":
                raise BadInput(
                    f"several processes cannot work together on {name}: give {key}=cpu, or start one process"
                )
            device = torch.device("cpu")
        return device

    def share(self, value: Any) -> Any:
        return self.gather_json(value if self.writes else None)[0]

    @torch.no_grad()
    def share_tensors(self, modules: Iterable[nn.Module]) -> None:
        tensors = [tensor for module in modules for tensor in module.state_dict().values()]
        self._in_buckets(tensors, lambda flat: dist.broadcast(flat, 0))

    @torch.no_grad()
    def sum_gradients(self, modules: Iterable[nn.Module]) -> None:
        found = dict.fromkeys(p for module in modules for p in module.parameters() if p.requires_grad)
        # Another rank may use a weight that this one does not: a text encoder's, if all captions here were dropped. One
        # that no rank uses keeps no gradient, as in one process: an optimiser would decay it otherwise.
        used = torch.tensor([p.grad is not None for p in found], dtype=torch.uint8)
        self._communicate(dist.all_reduce, used, dist.ReduceOp.MAX)
        for p, is_used in zip(found, used.tolist(), strict=True):
            if is_used and p.grad is None:
                p.grad = torch.zeros_like(p)
        self._in_buckets([p.grad for p in found if p.grad is not None], dist.all_reduce)

    def gather_rows(self, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        device = next(iter(values.values())).device
        own = torch.stack([value.to(device, torch.float64) for value in values.values()])  # (names, B / world)
        ranks = self._gather(own)  # (world, names, B / world); row r of rank k is row k + r world of the batch
        rows = ranks.permute(1, 2, 0).flatten(1)
        return {name: row.to(value.dtype) for (name, value), row in zip(values.items(), rows, strict=True)}

    def agree(self, progress: float, signal: int, failure: Exception | None, lost: Mapping[int, str]) -> StepAgreement:
        news = failure is not None or len(lost) > self._known_lost
        known = self._gather(torch.tensor([progress, signal, news], dtype=torch.float64))
        signals = [int(number) for number in known[:, 1].tolist() if number]
        self.ends_together = bool(signals)
        if known[:, 2].any():
            messages = self.gather_json({"failure": failure and str(failure), "lost": list(lost.items())})
            failures = {rank: one["failure"] for rank, one in enumerate(messages) if one["failure"] is not None}
            if failures:
                self.ends_together = True
                rank, text = next(iter(failures.items()))
                raise failure or BadInput(f"rank {rank} of {self.world}: {text}")
            lost = {int(index): reason for one in messages for index, reason in one["lost"]}
            self._known_lost = len(lost)
        return StepAgreement(float(known[0, 0]), signals[0] if signals else 0, lost)

    def wait(self) -> None:
        self._gather(torch.zeros(1))

    def is_first_report(self) -> bool:
        try:
            until = time.monotonic() + (0 if self.writes else _GRACE)
            while self.store.add("reports", 0) == 0 and time.monotonic() < until:
                time.sleep(0.05)
            return self.store.add("reports", 1) == 1
        except (RuntimeError, ValueError):  # its process ended
            return True

    def leave(self) -> None:
        if dist.is_initialized():
            self.wait()
            dist.destroy_process_group()

    def _gather(self, own: Tensor) -> Tensor:
        """Tensors of the same shape from all ranks, (world, *shape)."""
        found = [torch.empty_like(own) for _ in range(self.world)]
        self._communicate(dist.all_gather, found, own)
        return torch.stack(found)

    def gather_json(self, value: Any) -> list[Any]:
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = self._gather(torch.tensor([len(own)])).flatten().tolist()
        texts = self._gather(nn.functional.pad(own, (0, max(sizes) - len(own))))
        return [json.loads(bytes(text[:size].tolist())) for text, size in zip(texts, sizes, strict=True)]

    def collect_tensors(self, own: Sequence[Tensor]) -> list[list[Tensor]]:
        outlines = self.gather_json([[str(tensor.dtype).removeprefix("torch."), *tensor.shape] for tensor in own])
        if not self.writes:
            for tensor in own:
                self._communicate(dist.send, tensor.contiguous(), 0)
            return []
        found = [list(own)]
        for rank, outline in enumerate(outlines[1:], 1):
            found.append([torch.empty(shape, dtype=getattr(torch, kind)) for kind, *shape in outline])
            for tensor in found[-1]:
                self._communicate(dist.recv, tensor, rank)
        return found

    def _in_buckets(self, tensors: Sequence[Tensor], exchange: Callable[[Tensor], Any]) -> None:
        """Exchange tensors in place, many together, since one exchange costs as much as some megabytes."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self._communicate(exchange, flat)
            for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def _communicate(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        try:
            call(*arguments, **options)
        except (RuntimeError, ValueError) as error:
            raise self._loss(error) from error

    @contextmanager
    def noticing_loss(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, dist.DistError) or "gloo" in str(error):
                raise self._loss(error) from error
            raise

    def _loss(self, error: Exception) -> RankLost:
        ignore_signals()  # the launcher sends SIGTERM to the ranks that are left; this error says more
        return RankLost(
            f"another process of this run ended, or did not answer for {self.timeout:g} s ({first_words(error)})"
        )


def first_words(error: Exception) -> str:
    """The first sentence of an error of torch, without the place in its source."""
    text = " ".join(str(error).split())
    return shorten(text.split("] ", 1)[-1].split(". ")[0] if text.startswith("[") else text, 200)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type and device, at most `BUCKET` bytes together, or one larger tensor."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for group in groups.values():
        bucket: list[Tensor] = []
        size = 0
        for tensor in group:
            if bucket and size + tensor.nbytes > BUCKET:
                yield bucket
                bucket, size = [], 0
            bucket.append(tensor)
            size += tensor.nbytes
        yield bucket
