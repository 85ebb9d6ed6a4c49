"""Conditions of each sample: from the recipe's `sample` section to rows name -> value, and to network inputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..conditioning.base import build_conditioning
from ..config.sections import SampleSection
from ..nn.model import ConditionedNetwork
from ..types import BadInput, Conditioning

SampleConditions = dict[str, Any]
"""Conditions of one sample: name -> readable value, such as a class name; None: unconditional."""


def per_sample_conditions(model: ConditionedNetwork, section: SampleSection, count: int) -> list[SampleConditions]:
    """The conditions of `count` samples according to the recipe's `sample` section; lists of values are cycled.

    Raises:
        BadInput: A condition does not know a value.
    """
    wanted: dict[str, Any] = {"label": section.label, **section.conditions}
    rows: list[SampleConditions] = [{} for _ in range(count)]
    for name, condition in model.conditions.items():
        value = wanted.get(name)
        if isinstance(value, str) and value == "cycle":
            if value in condition.choices():  # type: ignore[operator]
                warnings.warn(
                    f"{name}=cycle is every value in turn; the value called cycle is {name}=[cycle]", stacklevel=2
                )
            value = list(condition.choices()) or None  # type: ignore[operator]
            if value is None and name in section.conditions:
                raise BadInput(f"{name} has no list of values to cycle through: give one value, or a list")
        for i, row in enumerate(rows):
            item = value[i % len(value)] if isinstance(value, (list, tuple)) and value else value
            row[name] = None if item is None else condition.format_value(condition.parse(item))  # type: ignore[operator]
    return rows


def embed_conditions(model: ConditionedNetwork, rows: Sequence[Mapping[str, Any]]) -> Conditioning:
    """Embed the conditions of a batch for the network; a condition that a row does not name is unconditional."""
    values = {
        name: [None if row.get(name) is None else condition.parse(row[name]) for row in rows]  # type: ignore[operator]
        for name, condition in model.conditions.items()
    }
    return build_conditioning(model.conditions, values)


def interpolate_conditions(
    model: ConditionedNetwork, a: Mapping[str, Any], b: Mapping[str, Any], share: float
) -> SampleConditions:
    """Interpolate conditions: share 0 gives a, 1 gives b. If one end is unconditional, the nearer end is taken."""
    result: SampleConditions = {}
    for name, module in model.conditions.items():
        condition: Any = module
        ends = [None if row.get(name) is None else condition.parse(row[name]) for row in (a, b)]
        missing = any(end is None for end in ends)
        value = ends[round(share)] if missing else condition.interpolate(*ends, share)
        result[name] = None if value is None else condition.format_value(value)
    return result


class DurationCondition:
    """The model's condition on the attribute `seconds`, if it has one; its value follows the length of each sample.

    Args:
        model: The model; it may have no conditions.
    """

    def __init__(self, model: nn.Module):
        conditions = dict(getattr(model, "conditions", nn.ModuleDict()).items())
        found = (n for n, c in conditions.items() if getattr(c, "key", "") == "seconds" and hasattr(c, "low"))
        self.name: str | None = next(found, None)
        self._condition: Any = None if self.name is None else conditions[self.name]

    def clamp(self, seconds: float) -> float:
        """A length, clamped to the range that the model was trained on."""
        return min(max(round(seconds, 6), self._condition.low), self._condition.high)

    def check(self, seconds: float) -> None:
        """Raise BadInput if a length is below the range that the model was trained on."""
        if self.name is not None and seconds < 0.99 * self._condition.low:
            low, high = self._condition.low, self._condition.high
            raise BadInput(f"sample.seconds is {seconds:g}, and this run was trained on {low:g} s to {high:g} s")

    def record(self, row: SampleConditions, seconds: float) -> None:
        """Write the length into the conditions of a sample, unless its duration condition already has a value."""
        if self.name is None:
            row["seconds"] = round(seconds, 6)
        elif row.get(self.name) is None:
            row[self.name] = self.clamp(seconds)

    def correct(self, row: SampleConditions, before: float, after: float) -> None:
        """Replace a recorded length `before` by `after`, in seconds; a value that the user set is unchanged."""
        if self.name is None:
            if row.get("seconds") is not None:
                row["seconds"] = round(after, 6)
        elif row.get(self.name) == self.clamp(before):
            row[self.name] = self.clamp(after)
