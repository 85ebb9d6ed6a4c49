"""YAML with positions: text -> a tree in which every value has its file, line and column; and values -> text.

The rules are those of YAML 1.2: `1e-4` is a number; `no`, `yes`, `on` and `off` are text; only `true` and `false` are
booleans; dates are text. A duplicate key is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ..util.messages import CONTROL, escape_control_characters, shorten
from .tree import ConfigNode, ConfigProblem, SourcePosition
from .trust import TrustLevel

# Limits of a recipe, far above those of any useful one: each keeps the time to read it below a second or two.
MOST_CHARACTERS = 200_000
MOST_VALUES = 10_000  # keys included, and aliases counted in full: with them a short file can become arbitrarily large
DEEPEST = 40  # levels of nesting
LONGEST_KEY = 1000  # characters
LARGEST_INTEGER = 2**63 - 1  # of 64 bits, as those of torch and numpy


class YamlLoader(yaml.SafeLoader):
    """PyYAML's scanner and parser with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own name)

    def __init__(self, text: str):
        super().__init__(text)
        self._count = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a value, within the limits: PyYAML itself has none."""
        self._count, self._depth = self._count + 1, self._depth + 1
        _check_size(self._count, self._depth)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _OutOfBounds(Exception):
    """A limit is exceeded."""


def _check_size(count: int, depth: int) -> None:
    if count > MOST_VALUES:
        raise _OutOfBounds(f"more than {MOST_VALUES} keys and values, aliases counted in full")
    if depth > DEEPEST:
        raise _OutOfBounds(f"nested more than {DEEPEST} levels deep, or an alias that contains itself")


_INT = r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
for _name, _pattern, _first in [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
]:
    YamlLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)


class YamlDumper(yaml.SafeDumper):
    """Writes text that has the same meaning under the rules above and under YAML 1.1."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
            *YamlLoader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *YamlLoader.yaml_implicit_resolvers}
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Write values that occur twice in full, without aliases."""
        return True

    def write_double_quoted(self, text: str, split: bool = True) -> None:
        """Write a quoted text; one with characters that `escape_control_characters` escapes is written with escapes."""
        self.allow_unicode = _shown_as_it_is(text)
        super().write_double_quoted(text, split)
        self.allow_unicode = True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """A text, quoted if `escape_control_characters` escapes some of it."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if _shown_as_it_is(data) else '"')


YamlDumper.add_representer(str, YamlDumper.represent_text)


def dump_yaml(value: Any) -> str:
    """Plain values as YAML: keys in the order given, innermost collections on one line."""
    return yaml.dump(value, Dumper=YamlDumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def parse_yaml(
    text: str,
    file: str,
    base: Path,
    problems: list[ConfigProblem],
    override: str = "",
    trust: TrustLevel = TrustLevel.NONE,
    stored: bool = False,
) -> ConfigNode | None:
    """Parse a text.

    Args:
        text: YAML.
        file: Name of the text in messages.
        base: Folder that its relative paths start from.
        problems: List that problems are appended to.
        override: See `SourcePosition`.
        trust: See `SourcePosition`.
        stored: See `SourcePosition`.

    Returns:
        The tree, or None if the text is empty or not valid YAML.
    """
    lines = text.splitlines()

    def mark(at: Any) -> SourcePosition:
        line = lines[at.line] if at is not None and at.line < len(lines) else ""
        place = (at.line + 1, at.column + 1) if at else (1, 1)
        return SourcePosition(file, *place, line, base, override, trust, stored)

    try:
        if len(text) > MOST_CHARACTERS:
            raise _OutOfBounds(f"{len(text)} characters, and a recipe has at most {MOST_CHARACTERS}")
        tree = yaml.compose(text, Loader=YamlLoader)
        return None if tree is None else _Composer(mark, problems).node(tree, "")
    except yaml.MarkedYAMLError as error:
        what = ", ".join(filter(None, (error.context, error.problem)))
        problems.append(ConfigProblem(mark(error.problem_mark or error.context_mark), "", f"not valid YAML: {what}"))
    except yaml.YAMLError as error:
        problems.append(ConfigProblem(mark(None), "", f"not valid YAML: {' '.join(str(error).split())}"))
    except _OutOfBounds as error:
        problems.append(ConfigProblem(mark(None), "", str(error)))
    return None


def parse_argument(text: str, base: Path, argument: str, trust: TrustLevel = TrustLevel.NONE) -> ConfigNode:
    """The value of an argument `key=value` of the command line: YAML where YAML reads all of it, else the text.

    YAML reads numbers, `true`, `false`, `null`, a list in [], a mapping in {}, and text in quotes. What it would drop
    or change (a comment after `#`, a name after `&`, `*` or `!`, a block mapping `a: b`) is text, word for word. The
    node keeps the text in any case, for parameters that take text; nothing at all means null.

    Args:
        text: The value.
        base: Folder that its relative paths start from.
        argument: The whole argument, for messages.
        trust: See `SourcePosition`.
    """
    at = SourcePosition("command line", 1, 1, "", base, argument, trust)
    if not text:
        return ConfigNode(None, at, text=text)
    problems: list[ConfigProblem] = []
    node = parse_yaml(text, "command line", base, problems, argument, trust) if _is_whole(text) else None
    looks_like_yaml = text.lstrip()[:1] in ("[", "{")
    if node is None or problems:
        message = problems[0].message if problems else "not valid YAML: quote texts with #, &, *, ! or brackets in them"
        return ConfigNode(text, at, text=text, problem=message if looks_like_yaml else "")
    node.text = node.value if isinstance(node.value, str) else text
    return node


def _is_whole(text: str) -> bool:
    """Whether a text is one flow collection or one scalar of YAML, but not a plain text, and no part has no meaning."""
    inner = text.strip()
    try:
        tokens = list(yaml.scan(inner, Loader=YamlLoader))
        tree = yaml.compose(inner, Loader=YamlLoader)
    except (yaml.YAMLError, _OutOfBounds):
        return inner[:1] in ("[", "{")  # `parse_yaml` reports the problem
    if tree is None or any(isinstance(t, (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken)) for t in tokens):
        return False
    if (tree.start_mark.index, tree.end_mark.index) != (0, len(inner)):
        return False
    if isinstance(tree, yaml.ScalarNode):
        plain_text = tree.style is None and tree.tag.endswith(":str")
        return not plain_text and tree.style not in ("|", ">") and inner != "~"
    return bool(tree.flow_style)


class _Composer:
    """Converts PyYAML's nodes to ConfigNodes."""

    def __init__(self, mark: Callable[[Any], SourcePosition], problems: list[ConfigProblem]):
        self.mark, self.problems, self.count, self.depth = mark, problems, 0, 0

    def node(self, tree: Any, path: str, key: SourcePosition | None = None) -> ConfigNode:
        self.count, self.depth = self.count + 1, self.depth + 1
        _check_size(self.count, self.depth)
        at = self.mark(tree.start_mark)
        if isinstance(tree, yaml.MappingNode):
            value: Any = self._mapping(tree, path)
        elif isinstance(tree, yaml.SequenceNode):
            value = [self.node(item, f"{path}[{i}]") for i, item in enumerate(tree.value)]
        else:
            value = self._scalar(tree, path, at)
        self.depth -= 1
        return ConfigNode(
            value, at, key, tree.value if isinstance(tree, yaml.ScalarNode) and tree.style is None else None
        )

    def _mapping(self, tree: Any, path: str) -> dict[str, ConfigNode]:
        out: dict[str, ConfigNode] = {}
        for name, value in tree.value:
            at = self.mark(name.start_mark)
            if not isinstance(name, yaml.ScalarNode) or len(name.value) > LONGEST_KEY or re.search(CONTROL, name.value):
                self.problems.append(ConfigProblem(at, path, "a key must be a plain word"))
                continue
            inner = f"{path}.{name.value}" if path else name.value
            if name.value in out:
                first = out[name.value].key
                self.problems.append(
                    ConfigProblem(at, inner, f"duplicate key, first given at line {first.line if first else '?'}")
                )
                continue
            out[name.value] = self.node(value, inner, at)
        return out

    def _scalar(self, tree: Any, path: str, at: SourcePosition) -> Any:
        text, tag = tree.value, tree.tag.rpartition(":")[2]
        if tag == "str" and not _is_unicode(text):
            remedy = "not Unicode text; rename what it names"
            self.problems.append(ConfigProblem(at, path, f"{shorten(ascii(text))} is {remedy}"))
            return None
        if tag == "str":
            return text
        if tag in ("null", "bool"):
            return None if tag == "null" else text == "true"
        try:
            if tag == "int":
                number = int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
                if abs(number) > LARGEST_INTEGER:
                    self.problems.append(ConfigProblem(at, path, f"{shorten(text)} is not an integer of 64 bits"))
                    return None
                return number
            if tag == "float":
                if text.lower().lstrip("+-") == ".inf":
                    return -math.inf if text[0] == "-" else math.inf
                return float(text.lower().replace(".nan", "nan"))
        except ValueError:  # a tag that the text contradicts (`!!int x`), or more digits than Python converts
            self.problems.append(ConfigProblem(at, path, f"{text[:40]!r} is not a valid {tag}"))
            return None
        self.problems.append(ConfigProblem(at, path, f"the tag {shorten(tree.tag)!r} has no meaning in a recipe"))
        return None


def _shown_as_it_is(text: str) -> bool:
    return all(escape_control_characters(line) == line for line in text.split("\n"))


def _is_unicode(text: str) -> bool:
    """Whether a file can hold the text; bytes of a path that are not Unicode, and halves of a character, are not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
