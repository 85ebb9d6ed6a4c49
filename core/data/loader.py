"""Loads the batch of each training step; its examples, their order and augmentation are a function of (seed, step).

torch's DataLoader provides worker processes, prefetching and pinned memory. One element of the DataLoader is the whole
batch of a step, so that the number of workers does not change the content of a batch.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapDataset

from ..types import BadInput, Dataset, Item, MediaSpec
from ..util.interrupts import SIGNALS
from ..util.messages import format_first
from ..util.notes import issue_note
from ..util.rng import keyed_generator

Workers = int | Literal["auto"]

MOST_LOST = 0.05
"""Largest share of the examples that may become unusable during training; one always may."""

_MAX_WORKERS = 8  # largest number of workers for "auto"
_FAST_BATCH = 0.01  # seconds; a worker costs about this time per batch, so that it does not help for faster batches


class TooManyExamplesLost(BadInput):
    """Too many examples became unusable during training.

    Attributes:
        lost: Index of each example -> why it cannot be used.
    """

    def __init__(self, lost: dict[int, str], count: int):
        few = format_first(list(lost.values()), between="; ")
        super().__init__(
            f"{len(lost)} of {count} examples can no longer be used, more than {100 * MOST_LOST:g} %: {few}"
        )
        self.lost = lost


@dataclass(frozen=True)
class Batch:
    """The rows of a step's global batch that one process computes.

    Attributes:
        step: Optimiser steps made before this batch.
        rows: Numbers of its rows in the global batch.
        items: The examples.
        media: Media of the examples, (B, C, *media).
        lost: Index of each example that could not be used and was replaced -> the reason.
    """

    step: int
    rows: tuple[int, ...]
    items: list[Item]
    media: Tensor
    lost: dict[int, str] = field(default_factory=dict)

    def lengths(self, spec: MediaSpec) -> Tensor | None:
        """Valid media elements along the time axis, (B,); None where no item states one."""
        if all(item.length is None for item in self.items):
            return None
        whole = spec.length_of(self.media.shape)
        return torch.tensor([whole if item.length is None else item.length for item in self.items])

    def split(self, parts: int) -> list[Batch]:
        """Split the batch into at most `parts` batches of consecutive rows."""
        size = -(-len(self.rows) // parts)
        cuts = [slice(i, i + size) for i in range(0, len(self.rows), size)]
        return [Batch(self.step, self.rows[c], self.items[c], self.media[c]) for c in cuts]

    def pin_memory(self) -> Batch:
        """The same batch in pinned memory, for asynchronous copies to the GPU. Called by DataLoader."""
        return replace(self, media=self.media.pin_memory())


class ExampleOrder:
    """An endless order of examples: every epoch is a permutation keyed by (seed, epoch), with random access.

    Args:
        seed: The run's seed.
        count: Number of examples.
    """

    def __init__(self, seed: int, count: int):
        self.seed, self.count = seed, count
        self._epochs: dict[int, np.ndarray] = {}

    def example(self, position: int) -> int:
        """The index of the example at a position, counted from the start of training."""
        epoch, place = divmod(position, self.count)
        if epoch not in self._epochs:
            self._epochs = {e: p for e, p in self._epochs.items() if e >= epoch - 1}
            self._epochs[epoch] = keyed_generator(self.seed, 0, "order", epoch).permutation(self.count)
        return int(self._epochs[epoch][place])


class StepBatchDataset(MapDataset):
    """Map-style dataset of torch: step -> its Batch.

    Args:
        data: The examples.
        seed: The run's seed, which determines order and augmentation.
        batch: Number of rows in the global batch.
        rank: Number of this process, from 0.
        world: Number of processes; process r has the rows r, r + world, r + 2 world, ...
    """

    def __init__(self, data: Dataset, seed: int, batch: int, rank: int = 0, world: int = 1):
        if not 0 <= rank < world:
            raise BadInput(f"rank is a number from 0 up to, not including, the number of processes {world}; got {rank}")
        if batch < world:
            raise BadInput(f"train.batch is {batch}, and {world} processes share it: it must be at least {world}")
        self.data, self.seed, self.batch = data, seed, batch
        self.rows = tuple(range(rank, batch, world))
        self.order = ExampleOrder(seed, len(data))
        self.lost: dict[int, str] = {}  # in the main process: what the batches so far could not use

    def __getitem__(self, step: int) -> Batch:
        """The batch of optimiser step `step` (from 0); augmentation is keyed by (seed, row, step)."""
        lost: dict[int, str] = {}
        items = [self.item(step, row, lost) for row in self.rows]
        return Batch(step, self.rows, items, torch.stack([item.media for item in items]), lost)

    def item(self, step: int, row: int, lost: dict[int, str] | None = None) -> Item:
        """The example in a row of a step's global batch.

        An example that cannot be read, or is not finite, is replaced by the next one in the order, whose row has it
        too. The replacement depends on nothing but the examples that are unusable.

        Args:
            step: The step, from 0.
            row: The row.
            lost: Unusable examples are added to it.

        Raises:
            TooManyExamplesLost: More examples than `most_lost` are unusable.
        """
        lost = {} if lost is None else lost
        for position in itertools.count(step * self.batch + row):
            index = self.order.example(position)
            try:
                return check_item_finite(self.data.item(index, keyed_generator(self.seed, row, "augment", step)))
            except (BadInput, OSError) as error:
                lost[index] = str(error)
            if len(lost) > self.most_lost:
                break
        raise TooManyExamplesLost(lost, len(self.data))

    @property
    def most_lost(self) -> int:
        """Number of examples that may become unusable."""
        return min(len(self.data) - 1, max(1, int(MOST_LOST * len(self.data))))

    def count_lost(self, lost: dict[int, str]) -> None:
        """Add unusable examples to `self.lost`; the first one is reported in a warning.

        Raises:
            TooManyExamplesLost: There are more than `most_lost`.
        """
        first = not self.lost
        self.lost.update((index, reason) for index, reason in lost.items() if index not in self.lost)
        if len(self.lost) > self.most_lost:
            raise TooManyExamplesLost(self.lost, len(self.data))
        if lost and first:
            issue_note(
                f"{next(iter(lost.values()))}; the next example in the order takes its place. Training goes on until "
                f"more than {self.most_lost} of {len(self.data)} examples are lost",
                stacklevel=2,
            )

    def sources(self, step: int) -> list[str]:
        """Sources of the examples of a step's global batch, for messages."""
        found = []
        for row in range(self.batch):
            with suppress(TooManyExamplesLost):
                found.append(self.item(step, row).source)
        return found


class _WorkerBatches(MapDataset):
    """StepBatchDataset in a worker process: items are sent without their media.

    `TooManyExamplesLost` is sent as the examples lost, since torch adds the worker's traceback to an exception.
    """

    def __init__(self, batches: StepBatchDataset):
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | dict[int, str]:
        try:
            batch = self.batches[step]
        except TooManyExamplesLost as error:
            return error.lost
        empty = torch.empty(0)
        return replace(batch, items=[replace(item, media=empty) for item in batch.items])


def _reaches_workers(data: Dataset) -> bool:
    """Whether a worker can receive the dataset: one that does not fork cannot import a class from `./file.py:Class`."""
    # Not get_start_method(): unless it is set, that would set it for the whole program.
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    return method == "fork" or "sonolux_local_" not in type(data).__module__


def iterate_batches(
    batches: StepBatchDataset, first: int = 0, workers: Workers = 0, pin: bool = False
) -> Iterator[Batch]:
    """Iterate without end over the batches of steps `first`, `first` + 1, ...; closing the iterator stops the workers.

    Args:
        batches: The batches to load.
        first: Optimiser steps made already.
        workers: Number of worker processes; 0: load in this process; "auto": depending on the loading time, see
            `choose_worker_count`. The batches do not depend on it.
        pin: Copy batches to pinned memory, for a GPU.

    Raises:
        TooManyExamplesLost: Too many examples cannot be read, or contain NaN or infinite values.
    """
    if workers == "auto":
        workers = choose_worker_count(batches)
    if workers and not _reaches_workers(batches.data):
        workers = 0
    loader = DataLoader(
        _WorkerBatches(batches) if workers else batches,
        batch_size=None,
        sampler=_Steps(first),
        num_workers=workers,
        collate_fn=_identity,  # type: ignore[arg-type]  # torch's stub knows lists only; without batch_size it gets items
        pin_memory=pin,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # for worker seeds, which are not used; torch's global generator does not change
    )
    for batch in loader:
        if not isinstance(batch, Batch):  # of a worker that lost too many at once
            raise TooManyExamplesLost({**batches.lost, **batch}, len(batches.data))
        batches.count_lost(batch.lost)
        if workers:
            items = [replace(item, media=media) for item, media in zip(batch.items, batch.media, strict=True)]
            batch = replace(batch, items=items)
        yield batch


def choose_worker_count(batches: StepBatchDataset, cores: int | None = None) -> int:
    """Number of worker processes, from the measured time to load the first rows.

    Data in memory are loaded in the main process, since sending a batch between processes takes longer. Files get one
    worker for each 50 ms per batch, but at least one core is left for training.

    Args:
        batches: The batches to load.
        cores: Number of cores; None: those that this process may use.
    """
    cores = _cores() if cores is None else cores
    few = range(min(8, len(batches.rows)))
    began = time.perf_counter()
    for i in few:
        batches.item(0, batches.rows[i])
    cost = (time.perf_counter() - began) / len(few) * len(batches.rows)
    return 0 if cost < _FAST_BATCH else max(0, min(math.ceil(cost / 0.05), cores - 1, _MAX_WORKERS))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Steps(torch.utils.data.Sampler):
    """The numbers of the steps from `first` on, without end."""

    def __init__(self, first: int):
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


def _identity(batch: Batch) -> Batch:
    return batch


def _ignore_interrupts(worker: int) -> None:
    """Ignore Ctrl-C, which a terminal sends to all processes: the main process ends its workers itself."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def check_item_finite(item: Item) -> Item:
    """The item, after a check of its values.

    Raises:
        BadInput: An element is NaN or infinite; the message names the item's source.
    """
    if not bool(torch.isfinite(item.media).all()):
        raise BadInput(f"{item.source}: contains NaN or infinite values: repair or remove it")
    return item
