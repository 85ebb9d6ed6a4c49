"""Markers in annotations of constructors: `Annotated[Any, ComponentKind("sampler")]`, `Annotated[int, Range(1)]`.

The configuration validates recipes by these markers; classes that use them need not import the configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ComponentKind:
    """Marks a parameter that takes a component: `sampler: Annotated[Any, ComponentKind("sampler")]`.

    Attributes:
        name: One of `registry.component_kinds()`.
    """

    name: str


@dataclass(frozen=True)
class Range:
    """Limits an `int` or `float`; ends are included unless `above` is used: `Annotated[int, Range(1)]`.

    Attributes:
        low: Smallest value; None: no limit.
        high: Largest value; None: no limit.
        above: The value must be larger than this; None: no limit.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None

    def holds(self, value: float) -> bool:
        """Whether the value lies in the range."""
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )

    def __str__(self) -> str:
        parts = [("above", self.above), ("of at least", self.low), ("of at most", self.high)]
        given = ((word, limit) for word, limit in parts if limit is not None)
        shown = ((word, f"{limit:g}" if limit % 1 else str(int(limit))) for word, limit in given)
        return " and ".join(f"{word} {limit}" for word, limit in shown).replace("and of", "and")

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Hook of pydantic: adds the limits to its schema of a number."""
        limits = {"ge": self.low, "le": self.high, "gt": self.above}
        return {**handler(source), **{name: limit for name, limit in limits.items() if limit is not None}}
