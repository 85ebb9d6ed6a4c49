"""`Conditioning`: what a batch of samples is conditioned on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..util.errors import BadInput

CONDITIONING_KINDS = ("vector", "tokens", "concat")
_GROUPS = (*CONDITIONING_KINDS, "unconditional")


class Tokens(NamedTuple):
    """A sequence of vectors for each sample, such as the output of a text encoder.

    Attributes:
        values: (B, L, E), L tokens of width E.
        mask: (B, L) bool: True for a token of the sample, False for padding.
    """

    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Conditioning:
    """What a batch of samples is conditioned on; row i of every tensor belongs to sample i.

    There are three kinds of conditioning: `vector`, `tokens` and `concat`. A network declares in `accepts` which of
    them it takes. The same name must not occur in two kinds.

    Attributes:
        vector: Name -> (B, E), which is added to the embedding of the noise level.
        unconditional: Name -> the value that means "unconditional", of the same kind as the condition: (B, E), `Tokens`
            of any length, or (B, C', *spatial), usually with axes of size 1. Classifier-free guidance replaces the
            condition by it.
        valid: (B, 1, *spatial), 1 where an element belongs to the sample and 0 where it is padding; None: no padding.
        wrap: Indices of the spatial axes (0 is the first) that are circular: convolutions pad circularly along them.
        tokens: Name -> `Tokens`, a sequence that the network attends to (cross-attention).
        concat: Name -> (B, C', *spatial), channels that are concatenated to x; an axis of size 1 is broadcast.

    Raises:
        BadInput: The same name occurs in two kinds.
    """

    vector: Mapping[str, Tensor] = field(default_factory=dict)
    unconditional: Mapping[str, Tensor | Tokens] = field(default_factory=dict)
    valid: Tensor | None = None
    wrap: tuple[int, ...] = ()
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    concat: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.vector.keys() | self.tokens.keys() | self.concat.keys()) < len(self.names):
            raise BadInput(f"a condition is of one kind, but a name occurs in several kinds: {sorted(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all conditions, of every kind."""
        return (*self.vector, *self.tokens, *self.concat)

    def __getitem__(self, name: str) -> Tensor | Tokens:
        """The condition called `name`, of any kind."""
        for kind in CONDITIONING_KINDS:
            if name in (group := getattr(self, kind)):
                return group[name]
        raise KeyError(name)

    def without(self, names: Collection[str] | None = None) -> Conditioning:
        """The same record with the conditions `names` (None: all) replaced by their unconditional counterparts."""
        drop = self.names if names is None else names

        def dropped(group: Mapping[str, Any]) -> dict[str, Any]:
            return {name: self.unconditional[name] if name in drop else value for name, value in group.items()}

        return replace(self, **{kind: dropped(getattr(self, kind)) for kind in CONDITIONING_KINDS})

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Conditioning:
        """The same record with `function` applied to each tensor (B, C', *spatial): `valid`, and all of `concat`."""
        concat = {name: function(value) for name, value in self.concat.items()}
        unconditional = {
            name: function(value) if name in concat and isinstance(value, Tensor) else value
            for name, value in self.unconditional.items()
        }
        valid = None if self.valid is None else function(self.valid)
        return replace(self, valid=valid, concat=concat, unconditional=unconditional)

    def rows(self, index: slice | Sequence[int] | Tensor) -> Conditioning:
        """The conditioning of some samples, in the order of `index` (a slice, a list of indices or an index tensor)."""
        if not isinstance(index, (slice, Tensor)):
            index = torch.as_tensor(index, dtype=torch.long)

        def select(value: Tensor | Tokens) -> Tensor | Tokens:
            if isinstance(value, Tokens):
                return Tokens(value.values[index], value.mask[index])
            return value[index]

        groups = {key: {k: select(v) for k, v in getattr(self, key).items()} for key in _GROUPS}
        return replace(self, valid=None if self.valid is None else self.valid[index], **groups)

    @staticmethod
    def stack(records: Sequence[Conditioning]) -> Conditioning:
        """Concatenate the rows of several records, so that guidance evaluates all its branches as one batch.

        Token sequences are padded to the longest one, and `concat` axes of size 1 are expanded to the largest size.

        Raises:
            BadInput: Some records have a mask `valid` and others have none, or they differ in their circular axes.
        """
        first = records[0]
        if len(records) == 1:
            return first
        if len({(record.valid is None, record.wrap) for record in records}) > 1:
            raise BadInput("records of one batch have all a mask `valid` or none of them, and the same axes `wrap`")
        groups = {
            key: {name: concatenate_batches([getattr(r, key)[name] for r in records]) for name in getattr(first, key)}
            for key in _GROUPS
        }
        valid = None if first.valid is None else torch.cat([r.valid for r in records if r.valid is not None])
        return Conditioning(valid=valid, wrap=first.wrap, **groups)


def concatenate_batches(parts: Sequence[Any]) -> Any:
    """Concatenate tensors or `Tokens` along the batch; tokens are padded to the longest, axes of size 1 expanded."""
    if isinstance(parts[0], Tokens):
        longest = max(part.values.shape[1] for part in parts)
        return Tokens(
            torch.cat([F.pad(part.values, (0, 0, 0, longest - part.values.shape[1])) for part in parts]),
            torch.cat([F.pad(part.mask, (0, longest - part.mask.shape[1])) for part in parts]),
        )
    largest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    return torch.cat([part if list(part.shape[1:]) == largest else part.expand(-1, *largest) for part in parts])
