"""Lengths of training examples, as a checkpoint keeps them: a run samples lengths from them."""

from __future__ import annotations

from collections.abc import Sequence

KEPT = 512  # lengths of training examples that a checkpoint carries

ClipLengths = tuple[tuple[int, int | None], ...]
"""(elements along the time axis, label) of training examples; empty where no example is padded."""


def clip_lengths(examples: Sequence[tuple[int, int | None, int | None]]) -> ClipLengths:
    """What a checkpoint keeps of examples (elements, valid elements or None for all, label): at most `KEPT` of them."""
    if all(valid is None for _, valid, _ in examples):
        return ()
    found = [(whole if valid is None else int(valid), label) for whole, valid, label in examples]
    return tuple(found[i * len(found) // KEPT] for i in range(KEPT)) if len(found) > KEPT else tuple(found)
