"""Sample requests: conditions, sizes and sample numbers, and the edits of each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..editing.base import Edit
from .conditions import SampleConditions
from .lengths import PaddedBatch

Rows = Sequence[int]
"""Indices of samples in a request."""

Decode = Callable[[Tensor], list[Tensor]]
"""Diffused tensors (B, C, *spatial) of a batch -> media (C, *size)."""


@dataclass
class SampleRequest:
    """Samples to generate. Requests for edits are subclasses that override some of its methods.

    Attributes:
        conditions: Conditions of each sample: name -> value.
        sizes: Number of media elements of each sample along each axis.
        numbers: Sample number of each: samples with the same seed and number start from the same noise.
        masked: Whether all samples get a mask, also where training had no padding: lengths were requested, or those of
            files are kept; see `lengths.make_padded_batch`.
        facts: Entries about the request for the settings in samples.json.
    """

    conditions: list[SampleConditions]
    sizes: list[tuple[int, ...]]
    numbers: list[int] = field(default_factory=list)
    masked: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.numbers = self.numbers or list(range(len(self.conditions)))

    def __len__(self) -> int:
        return len(self.conditions)

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        """The edits of a batch that contains these rows; none for new samples."""
        return []

    @property
    def references(self) -> tuple[str, ...]:
        """Names of the conditions `reference` that get a reference; none for new samples."""
        return ()

    def media(self, rows: Rows, z: Tensor, batch: PaddedBatch, decode: Decode) -> list[Tensor]:
        """The media of a batch z (B, C, *spatial); `decode` decodes it with the codec."""
        return decode(z)

    def finish(self, row: int, media: Tensor) -> Tensor:
        """Post-process the media (C, *size) of one row."""
        return media

    def before(self) -> list[Tensor]:
        """What each sample was made from, (C, *size), for the sheet; empty: it shows the samples alone."""
        return []

    def batches(self, largest: int, same_size: bool) -> Iterator[Rows]:
        """Rows in batches of at most `largest`; with `same_size` all rows of a batch have one size."""
        rows = sorted(range(len(self)), key=lambda i: self.sizes[i] if same_size else ())
        first = 0
        while first < len(rows):
            end = min(first + largest, len(rows))
            if same_size:
                end = next((i for i in range(first, end) if self.sizes[rows[i]] != self.sizes[rows[first]]), end)
            yield rows[first:end]
            first = end
