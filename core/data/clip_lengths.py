"""Lengths of training examples, which a checkpoint stores so that sampling can draw lengths from them."""

from __future__ import annotations

from collections.abc import Sequence

MAX_CLIP_LENGTHS = 512  # most lengths that a checkpoint stores

ClipLengths = tuple[tuple[int, int | None], ...]
"""(elements along the time axis, label) of training examples; empty if no example states a length of its own."""


def select_clip_lengths(examples: Sequence[tuple[int, int | None, int | None]]) -> ClipLengths:
    """The lengths to store in a checkpoint, at most `MAX_CLIP_LENGTHS` of them.

    Args:
        examples: (elements, valid elements or None for all, label) of each example.
    """
    if all(valid is None for _, valid, _ in examples):
        return ()
    found = [(elements if valid is None else int(valid), label) for elements, valid, label in examples]
    if len(found) <= MAX_CLIP_LENGTHS:
        return tuple(found)
    return tuple(found[i * len(found) // MAX_CLIP_LENGTHS] for i in range(MAX_CLIP_LENGTHS))
