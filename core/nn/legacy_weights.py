"""Weight names of the first edition, converted to the current ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

T = TypeVar("T")

_RENAMED = {  # a condition's parameter -> its current name
    r"(conditions\.[^.]+)\.rows": r"\1.rows.weight",
    r"(conditions\.[^.]+)\.told": r"\1.given",
}


def upgrade_names(stored: Mapping[str, T], part: str, expected: Collection[str]) -> dict[str, T]:
    """A part of a first-edition checkpoint with the current names.

    Args:
        stored: Name -> anything, from the checkpoint.
        part: The checkpoint's part: "model", "ema" or "codec". Only names in models have changed.
        expected: The module's names; a name among them is not changed, so that parameters of plugins keep their names.

    Returns:
        The current name -> the value, in the order of `stored`.
    """
    return {_upgraded(name, part, expected): value for name, value in stored.items()}


def _upgraded(name: str, part: str, expected: Collection[str]) -> str:
    if part not in ("model", "ema") or name in expected:
        return name
    for old, new in _RENAMED.items():
        if re.fullmatch(old, name) and re.sub(old, new, name) in expected:
            return re.sub(old, new, name)
    return name
