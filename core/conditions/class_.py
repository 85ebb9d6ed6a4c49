"""One of the data's classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..layers.init import normal_, reset
from ..types import BadInput, Item, Signal
from .base import Condition, listed


class Class(Condition):
    """One class of the data, embedded as a learned row.

    signal: facts of the data, with the names of its classes
    width: length of a row (the network's embedding width)
    drop: probability that training hides the class, which guidance needs
    """

    def __init__(self, signal: Signal, width: int, drop: float = 0.1):
        super().__init__(width, drop)
        if not signal.classes:
            raise BadInput(
                "condition `class` needs classes, and the data has none: give it labels, or remove the condition"
            )
        self.classes = signal.classes
        self.rows = nn.Parameter(torch.zeros(len(self.classes), width))
        reset(self, 0)

    def fill(self, rng: np.random.Generator) -> None:
        """Initial weights: standard normal rows."""
        super().fill(rng)
        normal_(self.rows, rng)

    def parse(self, value: Any) -> int:
        """A class's name or index -> its index; raises BadInput that names the classes."""
        if isinstance(value, str) and value in self.classes:
            return self.classes.index(value)
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            # A class whose name is this number goes before the index.
            if str(value) in self.classes:
                return self.classes.index(str(value))
            if 0 <= value < len(self.classes):
                return value
        raise BadInput(f"there is no class {value!r}: the classes are {listed(self.classes)}")

    def choices(self) -> Sequence[str]:
        """The names of all classes."""
        return self.classes

    def show(self, value: int | None) -> str | None:
        """An index -> the class's name."""
        return None if value is None else self.classes[value]

    def from_item(self, item: Item) -> int | None:
        """The example's label."""
        return item.label

    def embed(self, values: Sequence[int] | Tensor) -> Tensor:
        """Indices (B,) -> (B, E)."""
        return self.rows[torch.as_tensor(values, dtype=torch.long, device=self.rows.device)]
