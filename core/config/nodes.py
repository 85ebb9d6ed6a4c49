"""YAML with positions: text -> a tree whose every value knows the file, line and column it came from.

The rules are YAML 1.2's, which are what people expect: `1e-4` is a number, `no`, `yes`, `on` and `off` are text, only
`true` and `false` are truth values, dates are text, and a key that stands twice is an error.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LARGEST = 100_000  # values in a tree: aliases can make a short file grow without end


@dataclass(frozen=True)
class Mark:
    """A place: `file:line:column`, or an argument of the command line.

    text:     the line of the file, for messages
    base:     the folder that relative paths written here start from
    override: the whole argument `key=value`; "" in a file
    """

    file: str
    line: int
    column: int
    text: str
    base: Path
    override: str = ""

    def __str__(self) -> str:
        return f"command line: {self.override}" if self.override else f"{self.file}:{self.line}:{self.column}"


@dataclass
class Problem:
    """One thing that is wrong with a recipe: where, the key's path, and what was expected."""

    mark: Mark
    path: str
    message: str

    def record(self) -> dict[str, Any]:
        """The problem as plain values."""
        place = (
            {"argument": self.mark.override}
            if self.mark.override
            else {"file": self.mark.file, "line": self.mark.line, "column": self.mark.column}
        )
        return {**place, "path": self.path, "message": self.message}

    def __str__(self) -> str:
        if self.mark.override:
            return f"{self.mark}: {self.message}"
        named = not self.path or self.message.startswith(f"needs {self.path}:")
        place = f"{self.mark}: {self.message}" if named else f"{self.mark}: {self.path}: {self.message}"
        return f"{place}\n    {self.mark.line} | {self.mark.text.strip()}" if self.mark.text.strip() else place


@dataclass
class Node:
    """A value of the tree: a scalar, a dict of Nodes or a list of Nodes.

    mark: where the value stands
    key:  where its key stands
    use:  in a mapping that extends a component given by its bare name: that name
    """

    value: Any
    mark: Mark
    key: Mark | None = None
    use: Node | None = None

    @property
    def is_map(self) -> bool:
        """Whether this is a mapping."""
        return isinstance(self.value, dict)

    @staticmethod
    def of(value: Any, mark: Mark) -> Node:
        """A plain value as a tree that stands at one place."""
        if isinstance(value, dict):
            return Node({k: Node.of(v, mark) for k, v in value.items()}, mark)
        return Node([Node.of(v, mark) for v in value] if isinstance(value, list) else value, mark)

    def shown(self) -> str:
        """The value as a message shows it: `the text 'x'`, `a list`, `null`."""
        value = self.value
        if isinstance(value, dict):
            return "a mapping"
        if isinstance(value, list):
            return "a list" if value else "an empty list"
        if isinstance(value, str):
            return f"the text {value!r}"
        return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)

    def plain(self) -> Any:
        """The bare Python value."""
        if isinstance(self.value, dict):
            return {k: v.plain() for k, v in self.value.items()}
        return [v.plain() for v in self.value] if isinstance(self.value, list) else self.value


class Loader(yaml.SafeLoader):
    """PyYAML's scanner and parser with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own name)


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


_INT = r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
for _name, _pattern, _first in [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
]:
    Loader.add_implicit_resolver(_tag(_name), re.compile(f"^(?:{_pattern})$"), _first)


class Dumper(yaml.SafeDumper):
    """Writes text that both the rules above and YAML 1.1 read back as it was."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *Loader.yaml_implicit_resolvers.get(first, [])]
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *Loader.yaml_implicit_resolvers}
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Write values that stand twice in full."""
        return True


def dump(value: Any) -> str:
    """Plain values as YAML: keys in the order given, innermost collections on one line."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def parse(text: str, file: str, base: Path, problems: list[Problem], override: str = "") -> Node | None:
    """The tree of a text, or None where it is empty or no YAML; what is wrong is added to `problems`.

    file: how messages name it;  base: the folder of its relative paths;  override: see Mark
    """
    lines = text.splitlines()

    def mark(at: Any) -> Mark:
        line = lines[at.line] if at is not None and at.line < len(lines) else ""
        return Mark(file, at.line + 1 if at else 1, at.column + 1 if at else 1, line, base, override)

    try:
        tree = yaml.compose(text, Loader=Loader)
        return None if tree is None else _Reader(mark, problems).read(tree, "")
    except yaml.MarkedYAMLError as error:
        what = ", ".join(filter(None, (error.context, error.problem)))
        problems.append(Problem(mark(error.problem_mark or error.context_mark), "", f"not valid YAML: {what}"))
    except yaml.YAMLError as error:
        problems.append(Problem(mark(None), "", f"not valid YAML: {' '.join(str(error).split())}"))
    except RecursionError:
        problems.append(Problem(mark(None), "", "nested too deeply, or an alias that holds itself"))
    except _TooLarge:
        problems.append(Problem(mark(None), "", f"more than {LARGEST} values, aliases counted in full"))
    return None


class _TooLarge(Exception):
    pass


class _Reader:
    """yaml nodes -> Nodes."""

    def __init__(self, mark: Any, problems: list[Problem]):
        self.mark, self.problems, self.count = mark, problems, 0

    def read(self, tree: Any, path: str, key: Mark | None = None) -> Node:
        self.count += 1
        if self.count > LARGEST:
            raise _TooLarge
        at = self.mark(tree.start_mark)
        if isinstance(tree, yaml.MappingNode):
            return Node(self._mapping(tree, path), at, key)
        if isinstance(tree, yaml.SequenceNode):
            return Node([self.read(item, f"{path}[{i}]") for i, item in enumerate(tree.value)], at, key)
        return Node(self._scalar(tree, path, at), at, key)

    def _mapping(self, tree: Any, path: str) -> dict[str, Node]:
        out: dict[str, Node] = {}
        for name, value in tree.value:
            at = self.mark(name.start_mark)
            if not isinstance(name, yaml.ScalarNode):
                self.problems.append(Problem(at, path, "a key must be a plain word"))
                continue
            inner = f"{path}.{name.value}" if path else name.value
            if name.value in out:
                first = out[name.value].key
                self.problems.append(
                    Problem(at, inner, f"this key already stands at line {first.line if first else '?'}")
                )
                continue
            out[name.value] = self.read(value, inner, at)
        return out

    def _scalar(self, tree: Any, path: str, at: Mark) -> Any:
        text, tag = tree.value, tree.tag.rpartition(":")[2]
        if tag == "str":
            return text
        if tag in ("null", "bool"):
            return None if tag == "null" else text == "true"
        try:
            if tag == "int":
                return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
            if tag == "float":
                word = text.lower().lstrip("+-")
                return (
                    math.copysign(math.inf, -1 if text[0] == "-" else 1)
                    if word == ".inf"
                    else float(text.replace(".nan", "nan"))
                )
        except ValueError:  # a tag that the text contradicts (`!!int x`), or more digits than Python converts
            self.problems.append(Problem(at, path, f"{text[:40]!r} is no {tag}"))
            return None
        self.problems.append(Problem(at, path, f"the tag {tree.tag!r} means nothing in a recipe"))
        return None
