"""Scalar condition: a number, such as the length of an example in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..nn.layers.embedding import NumberEmbedding
from ..nn.layers.init import reset_parameters
from ..types import BadInput, Item, move_like
from ..util.messages import shorten
from .base import Condition


class Scalar(Condition):
    """A number in a range: Fourier features of its position in the range, then two linear layers.

    Args:
        width: Length of a vector (the network's embedding width).
        key: Name of the examples' attribute that contains the number.
        range: Smallest and largest value, in the attribute's unit; values of the data are clamped to it.
        log: Use a logarithmic scale, which suits lengths and frequencies.
        drop: Probability that training drops the number; classifier-free guidance needs a value above 0.

    Raises:
        BadInput: The range is empty, or starts at 0 or below on a logarithmic scale.
    """

    def __init__(self, width: int, key: str, range: list[float], log: bool = False, drop: float = 0.1):
        super().__init__(width, drop)
        if len(range) != 2 or not all(math.isfinite(v) for v in range) or not range[0] < range[1]:
            raise BadInput(f"condition `scalar` needs a range [smallest, largest], not {range}")
        if log and range[0] <= 0:
            raise BadInput(f"a range on a logarithmic scale starts above 0, not at {range[0]}: set log: false")
        self.key, self.low, self.high, self.log = key, float(range[0]), float(range[1]), log
        # In [-1, 1] the slowest feature is monotonic; the fastest distinguishes a sixteenth of the range.
        self.embedding = NumberEmbedding(32, width, slowest=0.125, fastest=2.0)
        reset_parameters(self, 0)

    def parse(self, value: Any) -> float:
        """Convert a number, or a text with a number, to float.

        Raises:
            BadInput: It is not a number in the range, which the message names.
        """
        number = _number(value)
        if not self.low <= number <= self.high:
            raise BadInput(f"{self.key} is a number from {self.low:g} to {self.high:g}, not {shorten(repr(value))}")
        return number

    def interpolate(self, a: float, b: float, share: float) -> float:
        """Interpolate from a to b on the condition's scale, linear or logarithmic."""
        if self.log:
            return math.exp((1 - share) * math.log(a) + share * math.log(b))
        return (1 - share) * a + share * b

    def from_item(self, item: Item) -> float | None:
        """The example's number, clamped to the range.

        Raises:
            BadInput: The attribute is not a finite number; the message names the example's source.
        """
        found = item.attributes.get(self.key)
        if found is None:
            return None
        number = _number(found)
        if not math.isfinite(number):
            raise BadInput(f"{item.source}: `{self.key}` is {shorten(repr(found))}, not a finite number")
        return min(max(number, self.low), self.high)

    def embed(self, values: Sequence[float] | Tensor) -> Tensor:
        """Embed numbers (B,) -> (B, E)."""
        number = move_like(torch.as_tensor(values, dtype=torch.float32), self.null, torch.float32)
        low, high = self.low, self.high
        if self.log:
            number, low, high = number.log(), math.log(low), math.log(high)
        return self.embedding(2 * (number - low) / (high - low) - 1)


def _number(value: Any) -> float:
    """A number, or a text with a number, as float; NaN for anything else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
