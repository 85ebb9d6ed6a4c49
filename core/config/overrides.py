"""One tree over another: `extends` and the `key=value` arguments of the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..util.messages import bad_input
from .sections import BESIDE
from .tree import Mark, Node, Problem
from .yaml import parse

# Keys of which one is given: a child that sets one replaces the parent's other.
EITHER: dict[tuple[str, ...], tuple[str, ...]] = {("train",): ("steps", "minutes")}
# Keys of any value: a mapping over a text replaces it, for the text is no component's name.
FREE = [("sample", key) for key in ("label", "seconds", "size", "conditions")]


def merge(parent: Node, child: Node, path: tuple[str, ...] = ()) -> Node:
    """The child's values over the parent's: mappings merge, lists replace, a changed `use` drops the old parameters.

    A bare name means {use: name}, so it keeps the parameters of the same component and drops those of another.
    """
    named = child.is_map and "use" in child.value
    # A number is no component's name: kept all the same, so that validation refuses it.
    if child.is_map and not named and path and path[:2] not in FREE and isinstance(parent.value, (str, int, float)):
        return Node({"use": replace(parent, key=None), **child.value}, child.mark, child.key)
    before = parent.get("use")
    if isinstance(child.value, str) and parent.is_map and (before is not None or path in BESIDE):
        return merge(parent, Node({"use": child}, child.mark, child.key), path)
    if isinstance(parent.value, list) and child.is_map and child.mark.override and not named:
        return _into_list(parent, child, path)
    if not (isinstance(parent.value, dict) and isinstance(child.value, dict)):
        return child
    after, kept = child.get("use"), dict(parent.value)
    other = before is not None and after is not None and before.value != after.value
    if other:
        kept = {k: v for k, v in kept.items() if k in BESIDE.get(path, ())}
    either = EITHER.get(path, ())
    if any(k in child.value and child.value[k].value is not None for k in either):
        kept = {k: v for k, v in kept.items() if k not in either}
    for name, value in child.value.items():
        kept[name] = merge(kept[name], value, (*path, name)) if name in kept else value
    of = parent if child.mark.override and not other else child
    return Node(kept, of.mark, of.key)


def _into_list(parent: Node, child: Node, path: tuple[str, ...]) -> Node:
    """An override of a list's items: `guidance.0.scale=2` by index, `guidance.cfg.scale=2` by the component's name, and
    `guidance.scale=2` where one item alone holds that key.

    Raises:
        BadInput: If it names none.
    """
    items = list(parent.value)
    for name, value in child.value.items():
        uses = [item.value.get("use", item).value if item.is_map else item.value for item in items]
        holds = [i for i, item in enumerate(items) if item.is_map and name in item.value]
        if name.isdigit() and int(name) < len(items):
            found, change = [int(name)], value
        elif uses.count(name) == 1:
            found, change = [uses.index(name)], value
        else:
            found, change = holds, Node({name: value}, child.mark, child.key)
        if len(found) != 1:
            whole, held = ".".join(path), ", ".join(str(use) for use in uses)
            bad_input(
                f"command line: {child.mark.override}: {whole} is a list here ({held}), and {name!r} is no one item: "
                f"write {whole}.0, {whole}.1 and so on"
            )
        items[found[0]] = merge(items[found[0]], change, (*path, "0"))
    return Node(items, parent.mark, parent.key)


def overrides_tree(arguments: list[str], cwd: Path, problems: list[Problem]) -> Node | None:
    """`key.sub=value` arguments as one tree, later ones over earlier ones; values follow the rules of a recipe."""
    trees: list[tuple[int, Node]] = []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        at = Mark("command line", 1, 1, "", cwd, argument)
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problems.append(Problem(at, "", "expected key=value, such as train.batch=64"))
            continue
        before = len(problems)
        node = parse(text, "command line", cwd, problems, argument) or Node(None, at)
        if len(problems) > before:
            continue
        node.key = at
        for part in reversed(parts):
            node = Node({part: node}, at, at)
        trees.append((len(parts), node))
    # Shallow keys first: `network=image/dit` must not undo the `network.width=64` that stands before it.
    whole: Node | None = None
    for _, tree in sorted(trees, key=lambda pair: pair[0]):
        whole = tree if whole is None else merge(whole, tree)
    return whole
