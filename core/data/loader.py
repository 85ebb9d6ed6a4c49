"""Which examples a step sees, in which order, and how they become tensors: all of it a function of (seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..training.build import finite
from ..types import Dataset, Item, MediaSpec
from ..util.rng import generator


@dataclass(frozen=True)
class Batch:
    """The rows of a step's global batch that one process holds.

    rows:  their positions in the global batch
    items: the examples
    media: (B, C, *spatial)
    """

    rows: tuple[int, ...]
    items: list[Item]
    media: Tensor

    def lengths(self, spec: MediaSpec) -> Tensor | None:
        """Valid media elements along the time axis, (B,); None where no item states one."""
        if all(item.length is None for item in self.items):
            return None
        whole = spec.length_of(self.media.shape)
        return torch.tensor([whole if item.length is None else item.length for item in self.items])


class Order:
    """An endless order of examples: every epoch is a permutation keyed by (seed, epoch), so any place is known at once.

    seed:  the run's seed
    count: number of examples
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


def load_batch(data: Dataset, order: Order, step: int, batch: int, rows: Sequence[int]) -> Batch:
    """Rows `rows` of the global batch of a step; crops and flips are keyed by (seed, row, step)."""
    items = [data.item(order.example(step * batch + row), generator(order.seed, row, "augment", step)) for row in rows]
    return Batch(tuple(rows), items, torch.stack([finite(item).media for item in items]))
