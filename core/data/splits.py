"""The training and validation parts of examples that code makes; files are split by the hash of their content."""

from __future__ import annotations

from ..types import BadInput

PARTS = ("train", "valid")


def need_part(split: str) -> None:
    """Raise BadInput unless `split` names a part."""
    if split not in PARTS:
        raise BadInput(f"split is train or valid; got {split!r}")


def part_of(count: int, valid: float, split: str, noun: str = "examples") -> range:
    """The numbers of one part of `count` examples: the training part has the first, the validation part the last.

    Args:
        count: examples in both parts together, at least 2.
        valid: share for validation, 0 up to, not including, 1; each part keeps at least one, unless it is 0.
        split: the part, train or valid.
        noun: what the examples are, for messages.

    Raises:
        BadInput: one of them is out of its range.
    """
    if count < 2:
        raise BadInput(f"data.count is the number of {noun}, at least 2; got {count}")
    if not 0 <= valid < 1:
        raise BadInput(f"data.split.valid is a share from 0 up to, not including, 1; got {valid}")
    need_part(split)
    held_out = min(max(round(count * valid), 1), count - 1) if valid else 0
    return range(count - held_out) if split == "train" else range(count - held_out, count)
