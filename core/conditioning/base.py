"""What a condition is: a value that a user or the data gives -> one row that the network adds to its embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.layers.init import normal_
from ..types import BadInput, Conditioning, Item


class Condition(nn.Module, ABC):
    """Embeds values as rows (B, E); a learned row stands for "not told".

    width: E, length of a row: the network's `embedding_width`
    drop:  probability that training replaces a value by the null row
    """

    def __init__(self, width: int, drop: float):
        super().__init__()
        if not 0 <= drop <= 1:
            raise BadInput(f"drop is a probability in [0, 1], not {drop}")
        self.width, self.drop = width, drop
        self.null = nn.Parameter(torch.zeros(width))

    @abstractmethod
    def parse(self, value: Any) -> Any:
        """The value a user writes -> the value that `embed` takes; raises BadInput that names the valid ones."""

    @abstractmethod
    def from_item(self, item: Item) -> Any | None:
        """The value that an example of the data carries, or None where it has none."""

    @abstractmethod
    def embed(self, values: Sequence[Any] | Tensor) -> Tensor:
        """Values -> (B, E)."""

    def choices(self) -> Sequence[Any]:
        """The values that "cycle" goes through; empty where they cannot be listed."""
        return ()

    def show(self, value: Any) -> Any:
        """A parsed value as a person reads it, a name or a number, which `parse` takes again."""
        return value

    def between(self, a: Any, b: Any, share: float) -> Any:
        """The parsed value that lies `share` of the way from a to b; where a kind knows none, the nearer of the two."""
        return a if share < 0.5 else b

    def null_row(self, batch: int) -> Tensor:
        """The learned row for "not told", (B, E)."""
        return self.null.expand(batch, -1)

    def fill(self, rng: np.random.Generator) -> None:
        """Initial weights of the null row: standard normal. Subclasses with parameters of their own extend it."""
        normal_(self.null, rng)


def listed(names: Sequence[str], most: int = 30) -> str:
    """Names for a message, the first `most` of them."""
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def gather(conditions: Mapping[str, Condition] | nn.ModuleDict, values: Mapping[str, Sequence[Any]]) -> Conditioning:
    """The record of a batch: name -> one value a sample, None for "not told". A condition without values is not told.

    Raises BadInput where a name is no condition or the lists differ in length.
    """
    unknown = [name for name in values if name not in conditions]
    if unknown:
        raise BadInput(f"there is no condition {unknown[0]!r}: this model has {', '.join(conditions.keys()) or 'none'}")
    lengths = {len(v) for v in values.values()}
    if len(lengths) > 1:
        raise BadInput(f"conditions of a batch need one value a sample, not lists of lengths {sorted(lengths)}")
    batch = lengths.pop() if lengths else 1
    embeddings, null = {}, {}
    for name, condition in conditions.items():
        null[name] = condition.null_row(batch)  # type: ignore[operator,union-attr]
        embeddings[name] = _rows(condition, values.get(name, [None] * batch), null[name])  # type: ignore[arg-type]
    return Conditioning(embeddings=embeddings, null=null)


def _rows(condition: Condition, values: Sequence[Any], null: Tensor) -> Tensor:
    """One row a value: embedded where it is told, the null row elsewhere."""
    told = [i for i, value in enumerate(values) if value is not None]
    if not told:
        return null
    rows = condition.embed([values[i] for i in told])
    if len(told) == len(values):
        return rows
    # Rows are picked from [null, told...]: one gather whatever the batch holds.
    place = {i: n + 1 for n, i in enumerate(told)}
    index = torch.tensor([place.get(i, 0) for i in range(len(values))], device=rows.device)
    return torch.cat([null[:1].to(rows.dtype), rows]).index_select(0, index)
