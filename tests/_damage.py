"""Damaged files for tests: the parts of a checkpoint, and random changes of trees and texts."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 2.0  # of processor time, in which a file must be accepted or refused


@dataclass
class CheckpointParts:
    """A checkpoint taken apart: a header of safetensors, the header of sonolux in it, and the bytes of the tensors."""

    tensors: dict[str, Any]
    facts: Any
    data: bytes

    @classmethod
    def of(cls, path: Path) -> CheckpointParts:
        """The parts of a file."""
        raw = path.read_bytes()
        end = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:end])
        facts = json.loads(header.pop("__metadata__")["sonolux"])
        return cls(header, facts, raw[end:])

    def copy(self) -> CheckpointParts:
        """A copy that can be changed."""
        return copy.deepcopy(self)

    def to_bytes(self, text: str | None = None) -> bytes:
        """The file; `text` replaces the JSON text of the header of sonolux."""
        text = json.dumps(self.facts) if text is None else text
        return with_length(json.dumps({"__metadata__": {"sonolux": text}, **self.tensors}).encode(), self.data)


def with_length(header: bytes, data: bytes) -> bytes:
    """A safetensors file of a header and the bytes of tensors."""
    return len(header).to_bytes(8, "little") + header + data


DEEP: Any = {}
for _ in range(60):
    DEEP = {"a": DEEP}
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 7, 0.5, -0.5, 1e300, -1e300, 5e-324, math.inf, -math.inf, math.nan),
    *(
        10**6,
        10**9,
        2**31,
        2**53,
        2**63 - 1,
        -(2**63),
        2**64,
        10**400,
        "",
        "x",
        "0",
        "auto",
        "cycle",
        "null",
        "[",
        "a:b",
    ),
    *("./x.py:C", "../..", "x" * 20_000, "\x00", "\x1b[2J", "\u202e", "cfg", "euler", "image/unet", "audio/unet"),
    *([], {}, [[]], [None], [0, 1], [1e300], [-1], [math.nan], [1] * 400, ["x"] * 400, DEEP, {"use": "x"}),
    *({"use": None}, {"use": 3}, {"use": {"use": "cfg"}}, {str(i): i for i in range(300)}, [{"use": "cfg"}] * 20),
]
SNIPPETS = [
    *":{}[],&*!|>'\"%@`#-?\n\t 0123456789.eE+\\~<",
    *("\x00", "\x85", "\u2028", "\ufeff", "<<: *a", "&a", "*a", "!!int ", "!!python/object:os.system ", "1e999"),
    *("9" * 5000, "[" * 300, "- " * 300, "a: " * 50, "\\ud800", "NaN", "-Infinity"),
]
# Parts of a table.
CELLS = (
    *(
        "file",
        "label",
        "caption",
        "Label",
        " file ",
        "pitch",
        "a.png",
        "b.png",
        "./a.png",
        "~nobody/x",
        "x" * 5000,
        "007",
    ),
    *(
        ",",
        ";",
        "\t",
        "\n",
        "\r\n",
        "\r",
        '"',
        '""',
        "'",
        "\\",
        "/",
        " ",
        "é",
        "e\u0301",
        "\x00",
        "\ufeff",
        "\u2028",
        "nan",
    ),
    *("1e400", "9" * 5000, "\udcff", "\ud800", "..", "C:\\x", "#"),
)
# Words of the command line.
WORDS = (
    *(
        "#",
        "&a",
        "*a",
        "!x",
        "[",
        "]",
        "{",
        "}",
        ":",
        ",",
        "'",
        '"',
        "|",
        ">",
        "-",
        "?",
        "%",
        "@",
        "`",
        "~",
        "=",
        ".",
        "/",
    ),
    *(
        "null",
        "true",
        "no",
        "3",
        "007",
        "1e400",
        "-1",
        ".inf",
        ".nan",
        "0x10",
        "a",
        "use",
        "heun",
        "cfg",
        " ",
        "\n",
        "\t",
    ),
    *("é", "\u0301", "\x85", "\u2028", "\ud800", "\udcff", "\x00", "\U0001f600", "9" * 5000, "x" * 300, "~nobody/x"),
)


def paths(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value of a tree."""
    yield above
    if isinstance(tree, (dict, list)):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from paths(tree[key], (*above, key))


def changed_tree(tree: Any, changes: list[tuple[float, str, Any]]) -> Any:
    """A copy of a tree with some changes."""
    tree = copy.deepcopy(tree)
    for place, how, value in changes:
        every = list(paths(tree))
        path = every[int(place * len(every))]
        if not path:
            continue
        at = tree
        for key in path[:-1]:
            at = at[key]
        if how == "remove":
            del at[path[-1]]
        elif how == "rename" and isinstance(at, dict):
            at[str(value)[:50]] = at.pop(path[-1])
        elif how == "nest":
            at[path[-1]] = [at[path[-1]]] if isinstance(value, float) else {"a": at[path[-1]]}
        else:
            at[path[-1]] = copy.deepcopy(value)
    return tree


def changed_text(text: str, changes: list[tuple[float, int, str]]) -> str:
    """A text with some changes."""
    for place, removed, inserted in changes:
        at = int(place * len(text))
        text = text[:at] + inserted + text[at + removed :]
    return text
