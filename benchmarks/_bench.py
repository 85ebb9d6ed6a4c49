"""A table of measurements, as the benchmarks print it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Figure:
    """One line of a table.

    Attributes:
        name: What was measured.
        value: The measured value.
        form: Format string of the value.
        note: Remark, for example the expected value or a reference.
    """

    name: str
    value: Any
    form: str = "{:.3g}"
    note: str = ""


@dataclass
class Table:
    """The measurements of one run."""

    title: str
    figures: list[Figure] = field(default_factory=list)

    def add(self, name: str, value: Any, form: str = "{:.3g}", note: str = "") -> None:
        """Append a line."""
        self.figures.append(Figure(name, value, form, note))

    def text(self) -> str:
        """The lines in aligned columns."""
        width = max(len(f.name) for f in self.figures)
        lines = [f"  {f.name:<{width}}  {f.form.format(f.value):>10}  {f.note}".rstrip() for f in self.figures]
        return "\n".join([self.title, *lines])
