"""Training and validation parts of generated examples. (Files are split by the hash of their content.)"""

from __future__ import annotations

from ..types import BadInput

PARTS = ("train", "valid")


def need_part(split: str) -> None:
    """Raise BadInput unless `split` is the name of a part."""
    if split not in PARTS:
        raise BadInput(f"split is train or valid; got {split!r}")


def part_of(count: int, valid: float, split: str, noun: str = "examples") -> range:
    """Numbers of the examples of one part: the training part has the first, the validation part the last.

    Args:
        count: Number of examples in both parts together, at least 2.
        valid: Share for validation, from 0 up to, not including, 1; above 0, each part has at least one example.
        split: The part, train or valid.
        noun: Name of the examples, for messages.

    Raises:
        BadInput: An argument is out of range.
    """
    if count < 2:
        raise BadInput(f"data.count is the number of {noun}, at least 2; got {count}")
    if not 0 <= valid < 1:
        raise BadInput(f"data.split.valid is a share from 0 up to, not including, 1; got {valid}")
    need_part(split)
    held_out = min(max(round(count * valid), 1), count - 1) if valid else 0
    return range(count - held_out) if split == "train" else range(count - held_out, count)
