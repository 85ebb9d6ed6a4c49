"""Conditions of each sample: from the recipe's `sample` section to rows name -> value, and to what a network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..conditioning.base import gather
from ..config.sections import Sample
from ..nn.model import Model
from ..types import BadInput, Conditioning

Row = dict[str, Any]
"""Conditions of one sample: name -> value as a person reads it; None: unconditional."""


def condition_rows(model: Model, section: Sample, count: int) -> list[Row]:
    """The conditions of each of `count` samples as the `sample` section asks for them.

    Raises:
        BadInput: A value that a condition does not know.
    """
    wanted: dict[str, Any] = {"label": section.label, **section.conditions}
    rows: list[Row] = [{} for _ in range(count)]
    for name, condition in model.conditions.items():
        value = wanted.get(name)
        if isinstance(value, str) and value == "cycle":
            value = list(condition.choices()) or None  # type: ignore[operator]
            if value is None and name in section.conditions:
                raise BadInput(f"{name} has no list of values to cycle through: give one value, or a list")
        for i, row in enumerate(rows):
            one = value[i % len(value)] if isinstance(value, (list, tuple)) and value else value
            row[name] = None if one is None else condition.show(condition.parse(one))  # type: ignore[operator]
    return rows


def embed_rows(model: Model, rows: Sequence[Mapping[str, Any]]) -> Conditioning:
    """The conditions of a batch as the network takes them; what a row does not name is unconditional."""
    values = {
        name: [None if row.get(name) is None else condition.parse(row[name]) for row in rows]  # type: ignore[operator]
        for name, condition in model.conditions.items()
    }
    return gather(model.conditions, values)


def interpolate_rows(model: Model, a: Mapping[str, Any], b: Mapping[str, Any], share: float) -> Row:
    """Conditions `share` of the way from a to b; where one end is unconditional, those of the nearer end."""
    made: Row = {}
    for name, module in model.conditions.items():
        condition: Any = module
        ends = [None if row.get(name) is None else condition.parse(row[name]) for row in (a, b)]
        missing = any(end is None for end in ends)
        value = ends[round(share)] if missing else condition.between(*ends, share)
        made[name] = None if value is None else condition.show(value)
    return made


class DurationCondition:
    """The condition on the attribute `seconds` of a model, if it has one: kept equal to the length of each sample.

    Args:
        model: The model; a network without conditions has none.
    """

    def __init__(self, model: nn.Module):
        conditions = dict(getattr(model, "conditions", nn.ModuleDict()).items())
        found = (n for n, c in conditions.items() if getattr(c, "key", "") == "seconds" and hasattr(c, "low"))
        self.name: str | None = next(found, None)
        self._condition: Any = None if self.name is None else conditions[self.name]

    def within(self, seconds: float) -> float:
        """The value that the condition takes for a length: within its range."""
        return min(max(round(seconds, 6), self._condition.low), self._condition.high)

    def check(self, seconds: float) -> None:
        """Raise BadInput for a length that is shorter than any the model was trained on."""
        if self.name is not None and seconds < 0.99 * self._condition.low:
            low, high = self._condition.low, self._condition.high
            raise BadInput(f"sample.seconds is {seconds:g}, and this run was trained on {low:g} s to {high:g} s")

    def record(self, row: Row, seconds: float) -> None:
        """Write the length into a sample's conditions, unless the condition on it has a value already."""
        if self.name is None:
            row["seconds"] = round(seconds, 6)
        elif row.get(self.name) is None:
            row[self.name] = self.within(seconds)

    def correct(self, row: Row, before: float, after: float) -> None:
        """Correct a length of `before` seconds that turned out as `after`; a condition with another value keeps it."""
        if self.name is None:
            if row.get("seconds") is not None:
                row["seconds"] = round(after, 6)
        elif row.get(self.name) == self.within(before):
            row[self.name] = self.within(after)
