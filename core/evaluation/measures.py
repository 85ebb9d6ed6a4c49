"""Single numbers of examples that a modality measures, see `distributions.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ExampleMeasure:
    """One number of every example.

    Attributes:
        key: Its name in metrics.json.
        name: Its name in tables, with its unit.
        values: (N,); NaN where an example has no such number, as the pitch of noise.
        format: Format string of a value.
    """

    key: str
    name: str
    values: Tensor
    format: str = "{:.3g}"


def measure_examples(
    media: Sequence[Tensor], columns: Sequence[tuple[str, str, str]], measure: Callable[[Tensor], Sequence[float]]
) -> list[ExampleMeasure]:
    """Measures from a function that returns all numbers of one example.

    Args:
        media: Examples (C, *spatial).
        columns: Key, name and format of each number.
        measure: Example -> its numbers, in the order of `columns`.
    """
    rows = torch.tensor([list(measure(one)) for one in media], dtype=torch.float64).reshape(len(media), len(columns))
    return [ExampleMeasure(key, name, rows[:, k], form) for k, (key, name, form) in enumerate(columns)]
