"""The signature of a component's constructor: its parameters with types, defaults and documentation.

The schema, the validation and the documentation of a component are all derived from it.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ..util.annotations import ComponentKind, Range

REQUIRED = inspect.Parameter.empty
SCALARS = (bool, int, float, str, Path, type(None))
LISTS = (list, tuple, Sequence)
MAPPINGS = (dict, Mapping)

# Parameters that the builder sets, so that a recipe must not: a dataset is built once for each part of the split, a
# condition's vectors have the length of the network's embedding, a network's input has the channels of the conditions,
# and loops are an option of each call.
SET_BY_BUILDER = {
    "dataset": ("split", "valid", "seed", "recorded"),
    "condition": ("width",),
    "network": ("concat",),
    "text_encoder": ("width",),
    "objective": ("process",),
    "output": ("loop",),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a constructor.

    Attributes:
        name: Its name.
        annotation: Its type, including `Annotated` metadata.
        default: Its default; REQUIRED if it has none.
        doc: Its description in the class docstring.
        hidden: Whether the builder passes it (a MediaSpec, a tensor, ...), so that a recipe cannot set it.
    """

    name: str
    annotation: Any
    default: Any
    doc: str
    hidden: bool


def annotated_kind(annotation: Any) -> ComponentKind | None:
    """The ComponentKind of `Annotated[X, ComponentKind(...)]`; None for any other annotation."""
    extras = annotation.__metadata__ if get_origin(annotation) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, ComponentKind)), None)


def union_members(annotation: Any) -> list[Any]:
    """The members of `A | B`, Union or Optional, NoneType included; an empty list if the type is not a union."""
    return list(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else []


def is_recipe_type(annotation: Any) -> bool:
    """Whether a recipe can contain a value of this type; for a union, a value of at least one member."""
    if annotated_kind(annotation) or annotation is Any or annotation in (*SCALARS, *LISTS, *MAPPINGS):
        return True
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return is_recipe_type(args[0])
    if origin is Literal:
        return True
    if options := union_members(annotation):
        return any(is_recipe_type(a) for a in options if a is not type(None))
    if origin in LISTS or origin in MAPPINGS:
        return all(is_recipe_type(a) for a in args if a is not Ellipsis)
    # The dataclasses of core/types are passed between parts of the program; recipes cannot contain them.
    return is_dataclass(annotation) and ".core.types." not in f"{getattr(annotation, '__module__', '')}."


def constructor_parameters(cls: type, kind: str = "") -> dict[str, Parameter]:
    """The constructor's parameters by name.

    Args:
        cls: The component's class.
        kind: Kind of component; some kinds have parameters that the builder sets.

    Raises:
        TypeError: The constructor has *args, **kwargs, positional-only parameters or missing annotations.
    """
    return dict(_parameters(cls, cls.__init__, kind))


@cache
def _parameters(cls: type, init: Any, kind: str) -> dict[str, Parameter]:
    owner = next((base for base in cls.__mro__ if "__init__" in vars(base)), object)
    if owner is object or owner.__module__.startswith(("torch.", "typing")) or not hasattr(init, "__code__"):
        return {}  # no constructor of its own
    hints = _hints(cls, init)
    docs = parameter_docs(cls)
    out: dict[str, Parameter] = {}
    for p in list(inspect.signature(init).parameters.values())[1:]:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise TypeError(
                f"{cls.__qualname__} takes {p}: a component names every parameter, so that recipes can be checked"
            )
        if p.kind is p.POSITIONAL_ONLY:
            raise TypeError(
                f"{cls.__qualname__}'s parameter {p.name!r} is positional only: components are built by keyword"
            )
        if p.name not in hints:
            raise TypeError(f"{cls.__qualname__}'s parameter {p.name!r} has no type annotation")
        hidden = p.name in SET_BY_BUILDER.get(kind, ()) or not is_recipe_type(hints[p.name])
        out[p.name] = Parameter(p.name, hints[p.name], p.default, docs.get(p.name, ""), hidden)
    return out


def _hints(cls: type, init: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(init, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        raise TypeError(f"{cls.__qualname__}'s annotations cannot be read: {error}") from error


def parameter_docs(cls: type) -> dict[str, str]:
    """Parameter name -> description, from the `Args:` section of the class docstring (`Attributes:` of a dataclass).

    Without such a section, every line `name: text` or `a, b: text` of the docstring is read.
    """
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip() in ("Args:", "Attributes:")]
    section: list[str] = []
    for line in lines[starts[0] + 1 :] if starts else ():
        if line.strip() and not line[0].isspace():
            break
        section.append(line)
    out: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc("\n" + "\n".join(section)).splitlines() if starts else lines:
        head = re.match(r"(\w+(?:, \w+)*)(?: \([^)]*\))?:\s+(.+)", line)
        if head:
            names = head[1].split(", ")
            out.update(dict.fromkeys(names, head[2].strip()))
        elif line[:1].isspace() and line.strip():  # an indented line continues the description
            out.update({n: f"{out[n]} {line.strip()}" for n in names})
        else:
            names = []
    return {name: text.removesuffix(".") for name, text in out.items()}


def first_docstring_line(cls: type) -> str:
    """The first line of the docstring that the class itself defines."""
    return inspect.cleandoc(vars(cls).get("__doc__") or "").split("\n", 1)[0]


WORDS = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    type(None): "null",
    Any: "anything",
}


def type_name(annotation: Any) -> str:
    """The type in words: `integer`, `list of number`, `text or null`."""
    if kind := annotated_kind(annotation):
        return f"{kind.name} (a name, or a mapping with `use:`)"
    if annotation in WORDS:
        return WORDS[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return " ".join([type_name(args[0]), *(str(extra) for extra in args[1:] if isinstance(extra, Range))])
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if options := union_members(annotation):
        return " or ".join(type_name(a) for a in options if a is type(None) or is_recipe_type(a))
    if annotation in LISTS or annotation in MAPPINGS:
        return "list" if annotation in LISTS else "mapping"
    if origin is tuple and Ellipsis not in args:
        return "list [" + ", ".join(type_name(a) for a in args) + "]"
    if origin in LISTS:
        return f"list of {type_name(args[0])}"
    if origin in MAPPINGS:
        return f"mapping of {type_name(args[1])}"
    return "mapping" if isinstance(annotation, type) else str(annotation)
