"""What is to be made, sample by sample: conditions, sizes, numbers, and the edits of each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..editing.base import Edit
from .conditions import Row
from .lengths import PaddedBatch

Rows = Sequence[int]
"""Positions of samples in a request."""

Decode = Callable[[Tensor], list[Tensor]]
"""Diffused tensors (B, C, *spatial) of a batch -> media (C, *size)."""


@dataclass
class SampleRequest:
    """A list of samples to make. A subclass edits: it overrides `edits`, `media` and `finish`.

    Attributes:
        conditions: Conditions of each sample: name -> value.
        sizes: Media elements of each along each axis.
        numbers: The number of each in the run's seed: samples of one number start from the same noise.
        masked: Whether lengths were asked for that the network was not trained on; see `lengths.padded_batch`.
        facts: What samples.json says of the request.
    """

    conditions: list[Row]
    sizes: list[tuple[int, ...]]
    numbers: list[int] = field(default_factory=list)
    masked: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.numbers = self.numbers or list(range(len(self.conditions)))

    def __len__(self) -> int:
        return len(self.conditions)

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        """The edits of a batch of some rows; none for new samples."""
        return []

    def media(self, rows: Rows, z: Tensor, batch: PaddedBatch, decode: Decode) -> list[Tensor]:
        """The media of a batch of diffused tensors z (B, C, *spatial); `decode` is the codec's way."""
        return decode(z)

    def finish(self, row: int, media: Tensor) -> Tensor:
        """What is kept of the media (C, *size) of a row."""
        return media

    def batches(self, most: int, alike: bool) -> Iterator[Rows]:
        """Rows in batches of at most `most`; alike: of one size, as loops must be."""
        rows = sorted(range(len(self)), key=lambda i: self.sizes[i] if alike else ())
        first = 0
        while first < len(rows):
            end = min(first + most, len(rows))
            if alike:
                end = next((i for i in range(first, end) if self.sizes[rows[i]] != self.sizes[rows[first]]), end)
            yield rows[first:end]
            first = end
