"""Error messages: converts pydantic's errors to problems with file, line, key path and the nearest valid name."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..util import messages
from ..util.annotations import ComponentKind
from .signature import LISTS, MAPPINGS, annotated_kind, type_name, union_members
from .tree import ConfigNode, ConfigProblem

MOST_ERRORS = 100  # of one component or section that are reported; each is compared with all known names
MOST_PROPOSED = 3  # keys that a message proposes for an unknown one
PREFIX = "sonolux:"  # of the types of errors that contain what a message needs

Loc = tuple[int | str, ...]

# Two fields of a recipe share a mapping with another field. Internal name -> path of their keys in the recipe.
SPLIT, SAMPLER = "<split>", "<sampler>"
MIXED: dict[int | str, Loc] = {SPLIT: ("data", "split"), SAMPLER: ("sample",)}
REMEDY = {"recipe": "write `recipe: 1`", "data": "give a data section: a mapping with `use:`"}


class ComponentKindWithKeys(ComponentKind, ABC):
    """A `ComponentKind` that knows the parameters of its components."""

    @abstractmethod
    def accepts(self, value: Any) -> Collection[str]:
        """The parameter names of the component that a recipe's value names."""


def recipe_error(what: str, **facts: Any) -> PydanticCustomError:
    """An error that `problems_from_error` turns into a message.

    Args:
        what: `expected`: wrong type; `needed`: a required parameter is absent; `unknown` or `hidden`: the key is not
            accepted; `missing`: a section is absent; `refused`: the constructor refused a value; `use`: no such
            component.
        facts: Values that the message needs.
    """
    return PydanticCustomError(PREFIX + what, "see context", facts)  # type: ignore[arg-type]


def error_at(loc: Loc, error: PydanticCustomError) -> ValidationError:
    """The error at a position relative to where it is raised."""
    return ValidationError.from_exception_data("recipe", [InitErrorDetails(type=error, loc=loc, input=None)])


def reword_errors(
    error: ValidationError,
    model: type[BaseModel],
    data: Any,
    owner: str = "",
    section_keys: Collection[str] = (),
    hidden: Collection[str] = (),
) -> ValidationError:
    """Convert a model's errors by `recipe_error`, using the annotations of its fields.

    Args:
        error: The error that the model raised.
        model: A section, or the model of a constructor.
        data: The value that was validated.
        owner: Name of the component that the keys belong to, for messages.
        section_keys: Keys of the section that shares the mapping.
        hidden: Parameters that the builder sets.

    Returns:
        The converted errors.
    """
    found: dict[tuple[Loc, str], InitErrorDetails] = {}
    for e in error.errors(include_url=False)[:MOST_ERRORS]:
        loc, kind = tuple(e["loc"]), e["type"]
        if kind == PREFIX + "needed" and loc and (field := model.model_fields.get(str(loc[0]))) is not None:
            loc = (field.alias or loc[0], *loc[1:])  # the place of a missing value is the name of the field
        if kind.startswith(PREFIX):
            item = recipe_error(kind.removeprefix(PREFIX), **e.get("ctx", {}))
        elif kind == "extra_forbidden":
            holder = _annotation(model, loc[:-1])[0]
            item = _unknown(holder, loc, data, owner if len(loc) == 1 else "", section_keys, hidden)
        elif loc[-1] == "[key]":
            loc, item = loc[:-1], recipe_error("refused", message=f"the key {loc[-2]!r} is no integer")
        elif kind == "missing" and isinstance(loc[-1], str):
            item = recipe_error("missing")
        else:
            short = kind == "missing" and _annotation(model, loc)[1] == len(loc)  # a list that lacks an item
            annotation, depth = _annotation(model, loc[:-1] if short else loc)
            single = [a for a in union_members(annotation) if a is not type(None)]
            annotation = single[0] if len(single) == 1 else annotation  # messages do not mention that null is accepted
            loc = loc[:depth]
            options = get_args(annotation) if get_origin(annotation) is Literal else ()
            item = recipe_error("expected", type=type_name(annotation), options=[str(o) for o in options])
        found.setdefault((loc, item.type), InitErrorDetails(type=item, loc=loc, input=None))
    return ValidationError.from_exception_data("recipe", list(found.values()))


def key_annotations(model: type[BaseModel]) -> dict[str, Any]:
    """key -> annotation of a model's fields."""
    fields = {f.alias or name: f for name, f in model.model_fields.items()}
    return {n: Annotated[(f.annotation, *f.metadata)] if f.metadata else f.annotation for n, f in fields.items()}


def _annotation(model: Any, loc: Loc) -> tuple[Any, int]:
    """The annotation at a position, or of the nearest union of several types above it; and the depth where it is."""
    for depth, step in enumerate(loc):
        inner = model
        while get_origin(inner) is Annotated or union_members(inner):
            options = [a for a in union_members(inner) if a is not type(None)] or [get_args(inner)[0]]
            if len(options) > 1:
                return model, depth
            inner = options[0]
        args = get_args(inner)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and step in (keys := key_annotations(inner)):
            model = keys[step]
        elif get_origin(inner) is tuple and Ellipsis not in args and isinstance(step, int):
            model = args[min(step, len(args) - 1)]
        elif get_origin(inner) in LISTS:
            model = args[0]
        elif get_origin(inner) in MAPPINGS:
            model = args[1]
        else:
            return model, depth
    return model, len(loc)


def _unknown(
    holder: Any, loc: Loc, data: Any, owner: str, section_keys: Collection[str], hidden: Collection[str]
) -> PydanticCustomError:
    name = str(loc[-1])
    if name in hidden:
        return recipe_error("hidden")
    while not isinstance(holder, type):
        holder = next(a for a in (get_args(holder) or (dict,)) if a is not type(None))
    keys = key_annotations(holder)
    for step in loc[:-1]:
        data = data.get(step) if isinstance(data, dict) else None
    known = [*(k for k in keys if k not in MIXED), *section_keys]
    deeper = list(dict.fromkeys(_deeper_keys(name, holder, data)))[:MOST_PROPOSED]
    near = deeper or messages.similar_names(name, known)
    return recipe_error("unknown", known=known, near=near, owner=owner)


def _deeper_keys(name: str, holder: Any, data: Any) -> Iterator[str]:
    """Paths of the keys called `name` in the sections and components below a section."""
    for key, annotation in key_annotations(holder).items():
        path, inner = MIXED.get(key, (key,)), data
        for step in path:
            inner = inner.get(step) if isinstance(inner, dict) else None
        section = next((a for a in (annotation, *get_args(annotation)) if _is_section(a)), None)
        accepted = _accepted(annotation, inner) if section is None else key_annotations(section)
        below = () if section is None else _deeper_keys(name, section, inner)
        yield from (".".join(map(str, (*path, found))) for found in (*[name][: name in accepted], *below))


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _accepted(annotation: Any, value: Any) -> Collection[str]:
    kind = annotated_kind(annotation)
    return kind.accepts(value) if isinstance(kind, ComponentKindWithKeys) else ()


def problems_from_error(error: ValidationError, root: ConfigNode, above: Loc = ()) -> list[ConfigProblem]:
    """The errors as problems with their positions in a tree.

    Args:
        error: The result of `reword_errors`.
        root: The tree that was validated.
        above: Path of the tree itself, for messages.
    """
    return [
        _problem(e["type"].removeprefix(PREFIX), tuple(e["loc"]), e.get("ctx", {}), root, above) for e in error.errors()
    ]


def read_texts_as_written(error: ValidationError, root: ConfigNode) -> bool:
    """Make texts of `true`, `false` and null in a tree where a text or a path is expected: they are what is written.

    Args:
        error: The result of `reword_errors`.
        root: The tree that was validated; it is changed.

    Returns:
        Whether there were any, so that the tree must be validated again.
    """
    found = False
    for e in error.errors():
        if e["type"] != PREFIX + "expected" or e.get("ctx", {}).get("type") not in ("text", "path"):
            continue
        loc = tuple(e["loc"])
        loc = MIXED.get(loc[0], loc[:1]) + loc[1:] if loc else loc
        node, exists = root.nearest(loc)
        constant = node.value is None or isinstance(node.value, bool)
        if exists and constant and node.text is not None:
            node.value, found = node.text, True
    return found


def _problem(what: str, loc: Loc, facts: dict[str, Any], root: ConfigNode, above: Loc) -> ConfigProblem:
    loc = MIXED.get(loc[0], loc[:1]) + loc[1:] if loc else loc
    node, _ = root.nearest(loc)
    path = format_key_path((*above, *loc))
    if what == "refused":
        return ConfigProblem(root.component_position(loc), path, facts["message"])
    if what == "use":
        return ConfigProblem(node.mark, path, facts["message"])
    if what == "missing":
        return ConfigProblem(
            root.mark, path, f"is missing: {REMEDY.get(path, f'give a {path}: a mapping with `use:`')}"
        )
    if what == "needed":
        doc = f" ({re.split('[;.] ', facts['doc'])[0]})" * bool(facts["doc"])
        example = "path/to/folder" if facts["type"] == "path" else "..."
        return ConfigProblem(node.mark, path, f"needs {path}: {facts['type']}{doc}; for example {path}={example}")
    if what == "hidden":
        return ConfigProblem(node.key or node.mark, path, "sonolux sets this itself; leave it out")
    if what == "unknown" and not (loc[-1] == "use" and node.key is None):
        return ConfigProblem(node.key or node.mark, path, _unknown_key(node, loc, facts, root))
    near = messages.did_you_mean(node.value, facts.get("options", ())) if isinstance(node.value, str) else ""
    near = near or _as_list(node, facts.get("type", ""))
    return ConfigProblem(node.mark, path, f"expected {facts.get('type', 'mapping')}, got {node.format_value()}{near}")


def _as_list(node: ConfigNode, expected: str) -> str:
    """`; write box='[0,14,28,28]'` for an argument of the command line that is a list without brackets."""
    text = node.value
    if "list" not in expected or not node.mark.override or not isinstance(text, str) or not re.match("[^,]+,", text):
        return ""
    key, _, value = node.mark.override.partition("=")
    return f"; write {messages.format_argument(key.strip(), f'[{value}]')}" if value == text else ""


def _unknown_key(node: ConfigNode, loc: Loc, facts: dict[str, Any], root: ConfigNode) -> str:
    above = format_key_path(loc[:-1])
    if loc == ("sample", "sampler"):
        name = node.value if isinstance(node.value, str) else "NAME"
        return f"unknown key: the sampler is `use`: use={messages.shorten(name)}"
    conditions = root.get("conditioning")
    if loc[:-1] == ("sample",) and conditions is not None and conditions.is_map and conditions.get(str(loc[1])):
        value = f"={messages.shorten(node.text)}" if node.text is not None else "=..."
        return f"unknown key; conditions are given as conditions.{loc[1]}{value}"
    if facts["near"]:
        prefix = f"{above}." if above and (node.key or node.mark).override else ""
        return f"unknown key; did you mean {' or '.join(repr(prefix + n) for n in facts['near'])}?"
    known = messages.format_names(facts["known"], 110) or "nothing"
    return f"unknown key; {facts['owner'] or above or 'a recipe'} accepts: {known}"


def format_key_path(loc: Sequence[int | str]) -> str:
    """The path as text, such as `network.stages[1]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).removeprefix(".")
