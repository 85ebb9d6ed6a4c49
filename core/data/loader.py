"""Which examples a step sees, in which order, and how they become tensors: all of it a function of (seed, step).

torch's DataLoader does the work: worker processes, prefetching, pinned memory. One element of the DataLoader is the
whole batch of a step, so the number of workers changes when a batch is made, never what is in it.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapDataset

from ..types import BadInput, Dataset, Item, MediaSpec
from ..util.rng import generator

Workers = int | Literal["auto"]

_MOST = 8  # workers that "auto" starts at most
_FAST = 0.01  # seconds: a batch that is read in less gains nothing from a worker, which costs about as much


@dataclass(frozen=True)
class Batch:
    """The rows of a step's global batch that one process holds.

    Attributes:
        step: optimiser steps made before this batch.
        rows: numbers of its rows in the global batch.
        items: the examples.
        media: (B, C, *spatial).
    """

    step: int
    rows: tuple[int, ...]
    items: list[Item]
    media: Tensor

    def lengths(self, spec: MediaSpec) -> Tensor | None:
        """Valid media elements along the time axis, (B,); None where no item states one."""
        if all(item.length is None for item in self.items):
            return None
        whole = spec.length_of(self.media.shape)
        return torch.tensor([whole if item.length is None else item.length for item in self.items])

    def split(self, parts: int) -> list[Batch]:
        """The batch in at most `parts` batches of consecutive rows."""
        size = -(-len(self.rows) // parts)
        cuts = [slice(i, i + size) for i in range(0, len(self.rows), size)]
        return [Batch(self.step, self.rows[c], self.items[c], self.media[c]) for c in cuts]

    def pin_memory(self) -> Batch:
        """The same batch in pinned memory, from which a copy to the GPU does not wait. Called by DataLoader."""
        return replace(self, media=self.media.pin_memory())


class Order:
    """An endless order of examples: every epoch is a permutation keyed by (seed, epoch), so any place is known at once.

    Args:
        seed: the run's seed.
        count: number of examples.
    """

    def __init__(self, seed: int, count: int):
        self.seed, self.count = seed, count
        self._epochs: dict[int, np.ndarray] = {}

    def example(self, position: int) -> int:
        """The index of the example at a position, counted from the start of training."""
        epoch, place = divmod(position, self.count)
        if epoch not in self._epochs:
            self._epochs = {e: p for e, p in self._epochs.items() if e >= epoch - 1}
            self._epochs[epoch] = generator(self.seed, 0, "order", epoch).permutation(self.count)
        return int(self._epochs[epoch][place])


class StepBatches(MapDataset):
    """step -> its Batch, as torch's DataLoader reads it.

    Args:
        data: the examples.
        seed: the run's seed; order, crops and flips follow from it.
        batch: rows of the global batch.
        rank: number of this process, from 0.
        world: number of processes; process r has the rows r, r + world, r + 2 world, ...
    """

    def __init__(self, data: Dataset, seed: int, batch: int, rank: int = 0, world: int = 1):
        if not 0 <= rank < world:
            raise BadInput(f"rank is a number from 0 up to, not including, the number of processes {world}; got {rank}")
        if batch < world:
            raise BadInput(f"train.batch is {batch}, and {world} processes share it: it must be at least {world}")
        self.data, self.seed, self.batch = data, seed, batch
        self.rows = tuple(range(rank, batch, world))
        self.order = Order(seed, len(data))

    def __getitem__(self, step: int) -> Batch:
        """The batch that optimiser step `step` (from 0) sees; crops and flips are keyed by (seed, row, step)."""
        items = [self.item(step, row) for row in self.rows]
        media = torch.stack([finite(item).media for item in items])
        return Batch(step, self.rows, items, media)

    def item(self, step: int, row: int) -> Item:
        """The example in a row of a step's global batch."""
        index = self.order.example(step * self.batch + row)
        return self.data.item(index, generator(self.seed, row, "augment", step))

    def sources(self, step: int) -> list[str]:
        """Where the examples of a step come from, for messages."""
        positions = (step * self.batch + row for row in self.rows)
        return [self.data.item(self.order.example(p), None).source for p in positions]


class _Guarded(MapDataset):
    """StepBatches in a worker: a batch travels without its items' own media, and bad data as a message.

    torch would put a worker's traceback into the message of an exception that crosses over.
    """

    def __init__(self, batches: StepBatches):
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | str:
        try:
            made = self.batches[step]
        except BadInput as error:
            return str(error)
        nothing = torch.empty(0)
        return replace(made, items=[replace(item, media=nothing) for item in made.items])


def load_steps(batches: StepBatches, first: int = 0, workers: Workers = 0, pin: bool = False) -> Iterator[Batch]:
    """The batches of the steps `first`, `first` + 1, ... without end; closing the iterator stops the workers.

    Args:
        batches: what to load.
        first: optimiser steps made already.
        workers: processes that read ahead; 0: none, read when asked for; "auto": as many as reading costs, see
            `chosen_workers`. The batches are the same.
        pin: put them into pinned memory, for a GPU.

    Raises:
        BadInput: an example holds NaN or infinite values or cannot be read.
    """
    if workers == "auto":
        workers = chosen_workers(batches)
    loader = DataLoader(
        _Guarded(batches) if workers else batches,
        batch_size=None,
        sampler=_Steps(first),
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # for seeds of workers, which draw nothing; torch's global one stays untouched
    )
    for made in loader:
        if isinstance(made, str):
            raise BadInput(made)
        if workers:
            items = [replace(item, media=media) for item, media in zip(made.items, made.media, strict=True)]
            made = replace(made, items=items)
        yield made


def chosen_workers(batches: StepBatches, cores: int | None = None) -> int:
    """Worker processes for data of this cost, from the time that the first rows take to read.

    Data in memory are read in the main process: handing a batch over costs more than making it. Files get a worker for
    each 50 ms that a batch takes, but never the last core, which the training itself needs.
    """
    cores = _cores() if cores is None else cores
    few = range(min(8, len(batches.rows)))
    began = time.perf_counter()
    for i in few:
        batches.item(0, batches.rows[i])
    cost = (time.perf_counter() - began) / len(few) * len(batches.rows)
    return 0 if cost < _FAST else max(0, min(math.ceil(cost / 0.05), cores - 1, _MOST))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Steps(torch.utils.data.Sampler):
    """The numbers of the steps from `first` on, without end."""

    def __init__(self, first: int):
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal: the main process decides, and ends its workers itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def finite(item: Item) -> Item:
    """The item.

    Raises:
        BadInput: an element of it is NaN or infinite; the message names its source.
    """
    if not bool(torch.isfinite(item.media).all()):
        raise BadInput(f"{item.source}: holds NaN or infinite samples: repair or remove it")
    return item
