"""What a modality brings to `prepare`, and what it hands back."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...util.plots import Panel
from ..manifest import Line


@dataclass(frozen=True)
class Summary:
    """What a modality says of its files: numbers for scripts, lines to print, panels to draw."""

    numbers: dict[str, Any]
    lines: list[str]
    panels: list[Panel]


@dataclass(frozen=True)
class Pair:
    """Two files, by position, and how alike they are: 1 is the same recording or picture."""

    first: int
    second: int
    likeness: float


@dataclass(frozen=True)
class Context:
    """What a proposal needs beside the lines: the recipe's name, the folder, and the recipe's own place."""

    name: str
    root: Path
    recipe: Path


@dataclass(frozen=True)
class Proposal:
    """The text of a recipe, and why its numbers are what they are."""

    text: str
    reasons: list[str]


class Preparer(Protocol):
    """What a modality brings to `prepare`; its class names it: `Modality.preparer()`.

    Attributes:
        modality: Its registered name.
        nouns: What one file is called, and several.
        suffixes: Of files that can be read, in lower case, with the dot.
        foreign: Of files of this kind that cannot be read: they are listed with their reason, not passed over.
        analysis: Version of what `inspect` measures; a change makes `prepare` measure again.
    """

    @property
    def modality(self) -> str: ...

    @property
    def nouns(self) -> tuple[str, str]: ...

    @property
    def suffixes(self) -> Collection[str]: ...

    @property
    def foreign(self) -> Collection[str]: ...

    @property
    def analysis(self) -> int: ...

    def begin(self, count: int) -> None:
        """Told how many files there are, before the first."""
        ...

    def inspect(self, path: Path) -> tuple[Line, Any]:
        """Decode a file once: what is known of it, and the trace by which copies are found. BadInput: not usable."""
        ...

    def trace(self, path: Path) -> Any:
        """The trace alone, of a file that was inspected earlier."""
        ...

    def alike(self, traces: Sequence[Any]) -> list[Pair]:
        """Pairs of near copies."""
        ...

    def summarise(self, lines: Sequence[Line]) -> Summary:
        """Of the usable lines."""
        ...

    def propose(self, lines: Sequence[Line], context: Context) -> Proposal:
        """A recipe for the usable lines."""
        ...


@dataclass
class PrepareReport:
    """What `prepare` found: `summary` is what summary.json holds, `lines` what is printed."""

    folder: Path
    summary: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    recipe: Path | None = None


def slug(name: str) -> str:
    """A recipe's name, which is a run's folder too: letters, digits, dots and dashes, a letter first."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    return plain if re.match(r"[^\W\d_]", plain) else f"data-{plain}".rstrip("-")
