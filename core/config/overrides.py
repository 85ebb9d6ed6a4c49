"""Merges one tree over another: for `extends` and for the `key=value` arguments of the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from ..util.messages import CONTROL, escape_control_characters, format_argument, raise_bad_input, shorten
from .legacy import upgrade_key_name
from .sections import SHARED_KEYS
from .spec import ComponentSpec
from .tree import ConfigNode, ConfigProblem, SourcePosition
from .trust import TrustLevel
from .yaml import parse_argument

# Keys that exclude each other: a child that sets one removes the parent's other one.
EXCLUSIVE: dict[tuple[str, ...], tuple[str, ...]] = {("train",): ("steps", "minutes")}
# Keys that accept any value: a mapping replaces a text, which is not a component's name here.
FREE = [("sample", key) for key in ("label", "prompt", "negative", "seconds", "size", "conditions")]


def merge_trees(parent: ConfigNode, child: ConfigNode, path: tuple[str, ...] = ()) -> ConfigNode:
    """Merge a child tree over its parent: mappings merge, lists replace, a changed `use` drops the old parameters.

    A name alone means {use: name}: it keeps the parent's parameters if the component is the same, else drops them.

    Args:
        parent: The tree with lower priority.
        child: The tree with higher priority.
        path: Keys from the root to these nodes.
    """
    named = child.is_map and "use" in child.value
    # A number is not a component's name; it is kept, so that validation reports it.
    if child.is_map and not named and path and path[:2] not in FREE and isinstance(parent.value, (str, int, float)):
        return ConfigNode({"use": replace(parent, key=None), **child.value}, child.mark, child.key, child.text)
    before = parent.get("use")
    if isinstance(child.value, str) and parent.is_map and (before is not None or path in SHARED_KEYS):
        return merge_trees(parent, ConfigNode({"use": child}, child.mark, child.key), path)
    if isinstance(parent.value, list) and child.is_map and child.mark.override and not named:
        return _into_list(parent, child, path)
    if not (isinstance(parent.value, dict) and isinstance(child.value, dict)):
        return child
    after, merged = child.get("use"), dict(parent.value)
    other = before is not None and after is not None and before.value != after.value
    if other:
        merged = {k: v for k, v in merged.items() if k in SHARED_KEYS.get(path, ())}
    exclusive = EXCLUSIVE.get(path, ())
    if any(k in child.value and child.value[k].value is not None for k in exclusive):
        merged = {k: v for k, v in merged.items() if k not in exclusive}
    for name, value in child.value.items():
        merged[name] = merge_trees(merged[name], value, (*path, name)) if name in merged else value
    position = parent if child.mark.override and not other else child
    return ConfigNode(merged, position.mark, position.key)


def _into_list(parent: ConfigNode, child: ConfigNode, path: tuple[str, ...]) -> ConfigNode:
    """Apply an override to an item of a list.

    The item is found by index (`guidance.0.scale=2`), by the component's name (`guidance.cfg.scale=2`), or, if only one
    item has that key, by the key alone (`guidance.scale=2`).

    Raises:
        BadInput: The override does not identify one item.
    """
    items = list(parent.value)
    for name, value in child.value.items():
        uses = [item.value.get("use", item).value if item.is_map else item.value for item in items]
        with_key = [i for i, item in enumerate(items) if item.is_map and name in item.value]
        if name.isdigit() and int(name) < len(items):
            found, change = [int(name)], value
        elif uses.count(name) == 1:
            found, change = [uses.index(name)], value
        else:
            found, change = with_key, ConfigNode({name: value}, child.mark, child.key)
        if len(found) != 1:
            whole, listed = ".".join(path), ", ".join(str(use) for use in uses)
            raise_bad_input(
                f"command line: {child.mark.override}: {whole} is a list here ({listed}), and {name!r} does not "
                f"identify one item: write {whole}.0, {whole}.1 and so on"
            )
        items[found[0]] = merge_trees(items[found[0]], change, (*path, "0"))
    return ConfigNode(items, parent.mark, parent.key)


Change = str | tuple[str, Any]
"""An argument `key.sub=value`, or a pair of a key and a plain value, which is not parsed."""


def override_key(change: Change) -> str:
    """The key of a change."""
    return (change[0] if isinstance(change, tuple) else change.partition("=")[0]).strip()


def changed_conditions(changes: Iterable[Change]) -> frozenset[str]:
    """Names of the conditions whose values in `sample.conditions` changes set, in any of the ways to write them.

    Args:
        changes: Valid changes of the `sample` section, with or without its name.
    """
    names = set[str]()
    for change in changes:
        key = override_key(change)
        if upgrade_key_name("sample", key) != "conditions":
            continue
        inner = key.removeprefix("sample.").split(".")[1:]
        if inner:
            names.add(inner[0].strip())
            continue
        value = change[1] if isinstance(change, tuple) else _plain_value(change)
        names |= set(map(str, value)) if isinstance(value, Mapping) else set()
    return frozenset(names)


def _plain_value(argument: str) -> Any:
    return parse_argument(argument.partition("=")[2], Path(), argument, TrustLevel.CODE).plain()


def parse_overrides(
    arguments: Sequence[Change], cwd: Path, problems: list[ConfigProblem], example: str = "train.batch=64"
) -> ConfigNode | None:
    """Changes as one tree; later ones override earlier ones. `parse_argument` says how a text becomes a value.

    Args:
        arguments: The changes.
        cwd: Folder that relative paths start from.
        problems: List that problems are appended to.
        example: A change that the message about an argument without `=` shows.
    """
    trees: list[tuple[int, ConfigNode]] = []
    for argument in arguments:
        if isinstance(argument, tuple):
            key, value = argument
            at = SourcePosition(
                "", 1, 1, "", cwd, shorten(escape_control_characters(f"{key}={value}"), 80), TrustLevel.CODE
            )
            node = _node(value, at)
        else:
            key, equals, text = argument.partition("=")
            at = SourcePosition(
                "command line", 1, 1, "", cwd, shorten(escape_control_characters(argument), 80), TrustLevel.CODE
            )
            if not equals or not all(key.strip().split(".")) or re.search(CONTROL, key):
                problems.append(ConfigProblem(at, "", _not_a_change(argument, cwd, example)))
                continue
            node = parse_argument(text, cwd, at.override, TrustLevel.CODE)
        node.key, parts = at, key.strip().split(".")
        for part in reversed(parts):
            node = ConfigNode({part: node}, at, at)
        trees.append((len(parts), node))
    # Shallow keys first: `network=image/dit` must not undo a `network.width=64` that is given before it.
    whole: ConfigNode | None = None
    for _, tree in sorted(trees, key=lambda pair: pair[0]):
        whole = tree if whole is None else merge_trees(whole, tree)
    return whole


def _not_a_change(argument: str, cwd: Path, example: str) -> str:
    """What is said of an argument that is not `key=value`."""
    if os.path.isdir(cwd / argument):
        return f"expected key=value; the folder of the data is {format_argument('data.root', argument)}"
    return f"expected key=value, such as {example}; quote values with spaces: 'key=some text'"


def _node(value: Any, at: SourcePosition) -> ConfigNode:
    """The node of a value of Python: texts, numbers, paths, arrays, tensors, components, lists and mappings of them.

    Raises:
        BadInput: The value is of another type.
    """
    if isinstance(value, ComponentSpec):  # a component of a recipe, such as `pipeline.recipe.sample.guidance`
        value = {"use": value.use, **value.params}
    if isinstance(value, Mapping):
        if any(re.search(CONTROL, str(k)) for k in value):
            raise_bad_input(f"{at}: a key must be a plain word")
        return ConfigNode({str(k): _node(v, at) for k, v in value.items()}, at)
    if isinstance(value, (list, tuple, range)):
        return ConfigNode([_node(v, at) for v in value], at)
    if hasattr(value, "tolist"):
        return _node(value.tolist(), at)
    if isinstance(value, PurePath):
        value = str(value)
    if value is not None and not isinstance(value, (str, int, float)):
        raise_bad_input(f"{at}: cannot be a value in a recipe: give names, numbers, lists or mappings")
    return ConfigNode(value, at)
