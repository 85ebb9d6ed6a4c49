"""What a condition is: a value that a user or the data gives -> a vector, tokens or channels for the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.layers.init import normal_
from ..types import CONDITIONING_KINDS, BadInput, Conditioning, Item, Tokens, stacked

Embedded = Tensor | Tokens
"""A condition's values as the network takes them, see `Condition.kind`."""


class Condition(nn.Module, ABC):
    """Embeds values; a learned vector stands for "unconditional".

    Args:
        width: E, length of a vector or token (for the vectors of a network: its `embedding_width`), or the number of
            channels C'.
        drop: Probability that training replaces a value by the unconditional one.

    Attributes:
        kind: What it yields: "vector" (B, E), "tokens" (`Tokens`), or "concat" (B, C', *spatial). A network declares in
            `accepts` which kinds it takes.
        dims: Number of spatial axes of a "concat" condition.

    Raises:
        BadInput: `drop` is not a probability.
    """

    kind: Literal["vector", "tokens", "concat"] = "vector"
    dims: int = 0

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
    def embed(self, values: Sequence[Any] | Tensor) -> Embedded:
        """Parsed values of B samples -> what `kind` says: (B, E), `Tokens`, or (B, C', *spatial)."""

    def choices(self) -> Sequence[Any]:
        """The values that "cycle" goes through; empty where they cannot be listed."""
        return ()

    def show(self, value: Any) -> Any:
        """A parsed value as a person reads it, a name or a number, which `parse` takes again."""
        return value

    def between(self, a: Any, b: Any, share: float) -> Any:
        """The parsed value a fraction `share` of the way from a to b; the nearer of the two where none lies between."""
        return a if share < 0.5 else b

    def unconditional(self, batch: int) -> Embedded:
        """The learned counterpart of `embed` for `batch` samples without a value.

        Returns:
            (B, E); one token a sample; or (B, C', *ones), which stands for any size.
        """
        if self.kind == "tokens":
            mask = torch.ones(batch, 1, dtype=torch.bool, device=self.null.device)
            return Tokens(self.null.expand(batch, 1, -1), mask)
        if self.kind == "concat":
            return self.null.reshape(1, -1, *[1] * self.dims).expand(batch, *[-1] * (1 + self.dims))
        return self.null.expand(batch, -1)

    def fill(self, rng: np.random.Generator) -> None:
        """Initial weights of the unconditional vector: standard normal. Subclasses extend it by their parameters."""
        normal_(self.null, rng)


def listed(names: Sequence[str], most: int = 30) -> str:
    """Names for a message, the first `most` of them."""
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def gather(conditions: Mapping[str, Condition] | nn.ModuleDict, values: Mapping[str, Sequence[Any]]) -> Conditioning:
    """The conditioning of a batch.

    Args:
        conditions: Name -> condition.
        values: Name -> one parsed value a sample, None for "unconditional"; a name that is missing is unconditional.

    Raises:
        BadInput: A name is no condition, or the lists differ in length.
    """
    unknown = [name for name in values if name not in conditions]
    if unknown:
        raise BadInput(f"there is no condition {unknown[0]!r}: this model has {', '.join(conditions.keys()) or 'none'}")
    lengths = {len(v) for v in values.values()}
    if len(lengths) > 1:
        raise BadInput(f"conditions of a batch need one value a sample, not lists of lengths {sorted(lengths)}")
    batch = lengths.pop() if lengths else 1
    groups: dict[str, dict[str, Any]] = {kind: {} for kind in CONDITIONING_KINDS}
    unconditional: dict[str, Embedded] = {}
    for name, condition in conditions.items():
        assert isinstance(condition, Condition)
        unconditional[name] = condition.unconditional(batch)
        own = values.get(name, [None] * batch)
        groups[condition.kind][name] = _embedded(condition, own, unconditional[name])
    return Conditioning(groups["vector"], unconditional, tokens=groups["tokens"], concat=groups["concat"])


def _embedded(condition: Condition, values: Sequence[Any], unconditional: Embedded) -> Embedded:
    """One row a value: embedded where there is one, the unconditional row elsewhere."""
    given = [i for i, value in enumerate(values) if value is not None]
    if not given:
        return unconditional
    rows = condition.embed([values[i] for i in given])
    if len(given) == len(values):
        return rows
    # Rows are picked from [unconditional, given...]: one gather whatever the batch holds.
    place = {i: n + 1 for n, i in enumerate(given)}
    index = [place.get(i, 0) for i in range(len(values))]
    if isinstance(rows, Tokens):
        assert isinstance(unconditional, Tokens)
        first = Tokens(unconditional.values[:1].to(rows.values.dtype), unconditional.mask[:1])
        both = stacked([first, rows])
        picked = torch.tensor(index, device=rows.values.device)
        return Tokens(both.values.index_select(0, picked), both.mask.index_select(0, picked))
    assert isinstance(unconditional, Tensor)
    both = stacked([unconditional[:1].to(rows.dtype), rows])
    return both.index_select(0, torch.tensor(index, device=rows.device))


def check_accepts(network: nn.Module, conditions: Mapping[str, Condition] | nn.ModuleDict) -> None:
    """Check that a network takes the kinds of conditioning that its conditions yield.

    Args:
        network: Its attribute `accepts` holds the kinds it takes; without one it takes vectors.
        conditions: Name -> condition.

    Raises:
        BadInput: A condition is of another kind.
    """
    accepts = getattr(network, "accepts", frozenset({"vector"}))
    for name, condition in conditions.items():
        kind = getattr(condition, "kind", "vector")
        if kind not in accepts:
            kinds = ", ".join(sorted(accepts)) or "none"
            raise BadInput(
                f"conditioning.{name} yields {_MEANING[kind]}, and the network {type(network).__name__} takes {kinds}: "
                f"choose another network, or remove the condition (conditioning.{name}=null)"
            )


_MEANING = {
    "vector": "a vector for each sample (`vector`)",
    "tokens": "a sequence of vectors to attend to (`tokens`)",
    "concat": "channels next to the noisy sample (`concat`)",
}
