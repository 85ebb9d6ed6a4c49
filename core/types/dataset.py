"""`Dataset`: examples by index."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass
class Item:
    """One example of a dataset.

    Attributes:
        media: (C, *spatial) float32, nominally in [-1, 1].
        length: Number of valid elements along the time axis (the rest is padding); None: all are valid.
        label: Index into the dataset's `classes`, or None.
        caption: Text, or None.
        attributes: Numbers and names that conditions and checkers may use.
        source: The file, or the index of a synthetic example; messages name it.
    """

    media: Tensor
    length: int | None = None
    label: int | None = None
    caption: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    source: str = ""


class Dataset(Protocol):
    """Examples by index, of one split. Random numbers come only from the `rng` argument, never from a global generator.

    Attributes:
        classes: Class names, in the order of the labels; () for data without classes.
    """

    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def item(self, index: int, rng: Any) -> Item:
        """Example `index`.

        Args:
            index: 0 to len - 1.
            rng: numpy Generator for crops and flips, keyed by (seed, sample, step); None: no augmentation.
        """
        ...

    def manifest(self) -> list[dict[str, Any]]:
        """One plain record per example (source, label, size, hash); a run stores the list and its hash."""
        ...
