"""Labels condition: any number of labels per example, such as the shapes and colours in one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.layers.embedding import EmbeddingTable
from ..nn.layers.init import normal_, reset_parameters
from ..types import BadInput, Item, move_like
from ..util.integers import is_integer
from ..util.labels import normalise_label
from .base import Condition, unknown_label_error


class Labels(Condition):
    """Any number of labels from a list: the sum of their learned vectors and of one vector that means "labels given".

    The last vector distinguishes "none of these labels" from "unconditional".

    Args:
        width: Length of a vector (the network's embedding width).
        key: Name of the examples' attribute that contains a label or a list of labels.
        values: List of all labels.
        drop: Probability that training drops the labels; classifier-free guidance needs a value above 0.

    Raises:
        BadInput: The labels are not a list of different names without commas.
    """

    def __init__(self, width: int, key: str, values: list[str], drop: float = 0.1):
        super().__init__(width, drop)
        self._places = {normalise_label(value): place for place, value in enumerate(values)}
        if not values or len(self._places) != len(values):
            raise BadInput(f"condition `labels` needs a list of different labels as `values`, not {values}")
        if any("," in str(v) or not str(v).strip() for v in values):
            raise BadInput(f"labels are names without commas, not {[v for v in values if ',' in str(v)] or values}")
        self.key, self.values = key, tuple(str(v) for v in values)
        self.rows = EmbeddingTable(len(values), width)
        self.given = nn.Parameter(torch.zeros(width))
        reset_parameters(self, 0)

    def init_weights(self, rng: np.random.Generator) -> None:
        """Draw initial weights: standard normal vectors."""
        super().init_weights(rng)
        normal_(self.rows.weight, rng)
        normal_(self.given, rng)

    def parse(self, value: Any) -> tuple[int, ...]:
        """Convert a label, "labels, with commas" or a list to sorted indices; "" or [] means "none of these labels".

        Raises:
            BadInput: There is no such label; the message lists the labels.
        """
        names = [n.strip() for n in value.split(",")] if isinstance(value, str) else value
        if is_integer(names) or not isinstance(names, Iterable):
            names = [names]
        return self._indices([n for n in names if n != ""], "")

    def choices(self) -> tuple[str, ...]:
        """Every single label."""
        return self.values

    def format_value(self, value: tuple[int, ...]) -> str:
        """The labels' names, with commas."""
        return ", ".join(self.values[i] for i in value)

    def from_item(self, item: Item) -> tuple[int, ...] | None:
        """The labels of an example.

        Raises:
            BadInput: A label is not in `values`; the message names the example's source.
        """
        found = item.attributes.get(self.key)
        if found is None:
            return None
        return self._indices(found if isinstance(found, (list, tuple)) else [found], f"{item.source}: ")

    def embed(self, values: Sequence[Sequence[int]] | Tensor) -> Tensor:
        """Embed B tuples of indices, or a multi-hot tensor (B, number of labels) -> (B, E)."""
        if not isinstance(values, Tensor):
            hot = torch.zeros(len(values), len(self.values))
            for row, indices in enumerate(values):
                hot[row, list(indices)] = 1
            values = hot
        return move_like(values, self.given) @ self.rows.weight + self.given

    def _indices(self, names: Iterable[Any], place: str) -> tuple[int, ...]:
        names = [normalise_label(name) for name in names]
        for name in names:
            if name not in self._places:
                raise BadInput(f"{place}{unknown_label_error('label', name, self.values, f' for `{self.key}`')}")
        return tuple(sorted({self._places[name] for name in names}))
