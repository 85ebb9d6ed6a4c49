"""The tree of a recipe's values, each with its position, and the problems that are found in it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..util.errors import BadInput
from ..util.messages import LONGEST_LINE, shorten
from .trust import TrustLevel

MOST_SHOWN = 50  # problems of one recipe that its message lists
LONGEST = 200  # characters of a value or of a line of the file in a message


@dataclass(frozen=True)
class SourcePosition:
    """A position: `file:line:column`, or an argument of the command line.

    Attributes:
        file: Name of the file, as messages show it; "command line"; or "" for an argument of a Python call.
        line: Line, counted from 1.
        column: Column, counted from 1.
        text: The line's text, for messages.
        base: Folder that relative paths written at this position start from.
        override: The whole argument `key=value`; "" in a file.
        trust: How far the text is trusted.
        stored: Whether sonolux wrote the text, with every parameter: the recipe in a run or a checkpoint.
    """

    file: str
    line: int
    column: int
    text: str
    base: Path
    override: str = ""
    trust: TrustLevel = TrustLevel.NONE
    stored: bool = False

    def __str__(self) -> str:
        if self.override:
            argument = shorten(self.override, LONGEST)
            return f"{self.file}: {argument}" if self.file else argument
        return f"{self.file}:{self.line}:{self.column}"


def locate_message(position: SourcePosition, path: str, message: str) -> str:
    """`position: path: message`, where no key is said twice.

    Args:
        position: The position.
        path: Path of the key or component there, such as `network`; an argument of the command line shows it already.
        message: The message; a key of the command line at its start is left out, since the position shows it.
    """
    if position.override:
        return f"{position}: {message.removeprefix(position.override.partition('=')[0].strip() + ': ')}"
    return f"{position}: {name_key(path, message)}"


def name_key(path: str, message: str) -> str:
    """`path: message`; the message alone if it starts with the path already."""
    named = not path or re.match(rf"(needs )?{re.escape(path)}(?!\w)", message)
    return message if named else f"{shorten(path, LONGEST)}: {message}"


class PositionedValue:
    """A value with its position, for relative paths, and as it is written, for parameters that take text.

    Attributes:
        mark: Its position.
        text: What is written there; of a text, the text itself.
        problem: Why the text was not read as YAML; "" if it was.
    """

    mark: SourcePosition
    text: str
    problem: str = ""


class PositionedText(PositionedValue, str):
    """A string with its position."""


class PositionedInt(PositionedValue, int):
    """An integer with its position."""


class PositionedFloat(PositionedValue, float):
    """A number with its position."""


class PositionedList(PositionedValue, list):
    """A list that is an argument of the command line."""


class PositionedMap(PositionedValue, dict):
    """A mapping that is an argument of the command line."""


PLACED = {str: PositionedText, int: PositionedInt, float: PositionedFloat, list: PositionedList, dict: PositionedMap}


def text_as_written(value: Any) -> Any:
    """The text of a value that a parameter of type text receives: `3.10`, `007`, `true`; other values unchanged."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.text if isinstance(value, PositionedValue) else value


@dataclass
class ConfigNode:
    """A value of the tree: a scalar, a dict of ConfigNodes or a list of ConfigNodes.

    Attributes:
        value: The scalar, dict or list.
        mark: Position of the value.
        key: Position of its key; None if it has none.
        text: What is written, of a number in a file and of any argument of the command line; None: not kept.
        problem: Why an argument of the command line is a text and not what it looks like; "" if nothing is wrong.
    """

    value: Any
    mark: SourcePosition
    key: SourcePosition | None = None
    text: str | None = None
    problem: str = ""

    @property
    def is_map(self) -> bool:
        """Whether this is a mapping."""
        return isinstance(self.value, dict)

    def get(self, *path: str) -> ConfigNode | None:
        """The node at a path of keys, or None."""
        node: ConfigNode | None = self
        for name in path:
            node = node.value.get(name) if node is not None and node.is_map else None
        return node

    def nearest(self, path: Sequence[str | int]) -> tuple[ConfigNode, bool]:
        """The node at a path of keys and indices, or its deepest existing ancestor; and whether the path exists."""
        node = self
        for step in path:
            items: Any = dict(enumerate(node.value)) if isinstance(node.value, list) else node.value
            if not isinstance(items, dict) or step not in items:
                return node, False
            node = items[step]
        return node, True

    def component_position(self, path: Sequence[str | int]) -> SourcePosition:
        """Position of a component: that of a parameter from the command line, if any, else of its key in the file."""
        node, whole = self.nearest(path)
        inside = node.value.values() if whole and node.is_map else ()
        return next((child.mark for child in inside if child.mark.override), node.key or node.mark)

    def format_value(self) -> str:
        """The value as a message shows it: `the text 'x'`, `a list`, `null`."""
        value = self.value
        if isinstance(value, dict):
            return "a mapping"
        if isinstance(value, list):
            return "a list" if value else "an empty list"
        if isinstance(value, str):
            return f"the text {shorten(value)!r}" + f" ({self.problem})" * bool(self.problem)
        if isinstance(value, float) and math.isnan(value):
            return ".nan"
        if isinstance(value, int) and not isinstance(value, bool):
            return shorten(self.text or str(value))
        return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)

    def plain(self) -> Any:
        """The bare Python value."""
        if isinstance(self.value, dict):
            return {k: v.plain() for k, v in self.value.items()}
        return [v.plain() for v in self.value] if isinstance(self.value, list) else self.value

    def data(self) -> Any:
        """The value for validation, with positions and texts. NaN becomes a text: no parameter accepts it."""
        value = self.value
        if isinstance(value, dict):
            value = {k: v.data() for k, v in value.items()}
        elif isinstance(value, list):
            value = [v.data() for v in value]
        elif isinstance(value, float) and math.isnan(value):
            value = ".nan"
        if type(value) not in PLACED or (isinstance(value, (dict, list)) and self.text is None):
            return value
        placed = PLACED[type(value)](value)
        placed.mark, placed.problem = self.mark, self.problem
        placed.text = str(value) if self.text is None else self.text
        return placed


@dataclass
class ConfigProblem:
    """One error in a recipe.

    Attributes:
        mark: Its position.
        path: Path of the key, such as `network.stages[1]`.
        message: What was expected.
    """

    mark: SourcePosition
    path: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """The problem as plain values."""
        m = self.mark
        place = {"argument": m.override} if m.override else {"file": m.file, "line": m.line, "column": m.column}
        return {**place, "path": self.path, "message": self.message}

    def lines(self) -> list[str]:
        """The message with its position, and the line of the file."""
        message, text = shorten(self.message, LONGEST_LINE // 2), self.mark.text.strip()
        place = locate_message(self.mark, self.path, message)
        if self.mark.override or not text:
            return [place]
        return [place, f"    {self.mark.line} | {shorten(text, LONGEST)}"]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class BadRecipe(BadInput):
    """Every problem of a recipe, in the order of lines in the files; those of the command line come last.

    Attributes:
        problems: The single problems.
    """

    def __init__(self, problems: Sequence[ConfigProblem]):
        files = list(dict.fromkeys(p.mark.file for p in problems))
        different = {str(p): p for p in reversed(problems)}.values()
        self.problems = sorted(
            reversed(different),
            key=lambda p: (bool(p.mark.override), files.index(p.mark.file), p.mark.line, p.mark.column),
        )
        listed = [line for problem in self.problems[:MOST_SHOWN] for line in problem.lines()]
        if len(self.problems) > MOST_SHOWN:
            listed.append(f"and {len(self.problems) - MOST_SHOWN} more")
        count = [f"{len(self.problems)} errors; nothing was run"] if len(self.problems) > 1 else []
        super().__init__(*listed, *count)
