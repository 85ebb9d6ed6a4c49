"""What a component's constructor says of itself: its parameters, their types, defaults and documentation.

This is the schema, the validation and the documentation of a component: nothing else describes it.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

REQUIRED = inspect.Parameter.empty
SCALARS = (bool, int, float, str, Path, type(None))
LISTS = (list, tuple, Sequence)
MAPPINGS = (dict, Mapping)

# What the builder decides, and a recipe therefore does not: a dataset is made once for each part of the split, and a
# condition's rows are as long as the network's embedding; whether loops are made is asked of a call.
SET_BY_BUILDER = {"dataset": ("split", "valid", "seed"), "condition": ("width",), "output": ("loop",)}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a constructor.

    annotation: its type, with `Annotated` metadata kept
    default:    REQUIRED where it has none
    doc:        the text of its line in the class docstring
    hidden:     handed in by the builder (a MediaSpec, a tensor, ...), never written in a recipe
    """

    name: str
    annotation: Any
    default: Any
    doc: str
    hidden: bool


def kind_of(annotation: Any) -> str | None:
    """The kind K of `Annotated[X, Kind(K)]`, else None."""
    if get_origin(annotation) is Annotated:
        for extra in annotation.__metadata__:
            if type(extra).__name__ == "Kind":
                return extra.name
    return None


def is_union(annotation: Any) -> bool:
    """Whether the type is `A | B`, Union or Optional."""
    return get_origin(annotation) in (Union, types.UnionType)


def writable(annotation: Any) -> bool:
    """Whether a recipe can hold a value of this type; of a union, whether it can hold one of the alternatives."""
    if (
        kind_of(annotation)
        or annotation is Any
        or annotation in SCALARS
        or annotation in LISTS
        or annotation in MAPPINGS
    ):
        return True
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return writable(args[0])
    if origin is Literal:
        return True
    if is_union(annotation):
        return any(writable(a) for a in args if a is not type(None))
    if origin in LISTS or origin in MAPPINGS:
        return all(writable(a) for a in args if a is not Ellipsis)
    # The contracts in core/types.py are what parts of the program hand each other.
    return is_dataclass(annotation) and not str(getattr(annotation, "__module__", "")).endswith("core.types")


def parameters(cls: type, kind: str = "") -> dict[str, Parameter]:
    """The constructor's parameters by name. Raises TypeError for *args, **kwargs and missing annotations."""
    init = cls.__init__
    owner = next((base for base in cls.__mro__ if "__init__" in vars(base)), object)
    if owner is object or owner.__module__.startswith(("torch.", "typing")) or not hasattr(init, "__code__"):
        return {}  # no constructor of its own
    hints = _hints(cls, init)
    docs = documented(cls)
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
        hidden = p.name in SET_BY_BUILDER.get(kind, ()) or not writable(hints[p.name])
        out[p.name] = Parameter(p.name, hints[p.name], p.default, docs.get(p.name, ""), hidden)
    return out


def _hints(cls: type, init: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(init, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        raise TypeError(f"{cls.__qualname__}'s annotations cannot be read: {error}") from error


def documented(cls: type) -> dict[str, str]:
    """name -> text of the docstring lines `name: text` and `a, b: text`; deeper lines that follow continue the text."""
    out: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
        head = re.match(r"(\w+(?:, \w+)*):\s+(.+)", line)
        if head:
            names = head[1].split(", ")
            out.update(dict.fromkeys(names, head[2].strip()))
        elif line[:1].isspace() and line.strip():
            out.update({n: f"{out[n]} {line.strip()}" for n in names})
        else:
            names = []
    return out


def about(cls: type) -> str:
    """The first line of the class's own docstring."""
    return inspect.cleandoc(vars(cls).get("__doc__") or "").split("\n", 1)[0]


def type_name(annotation: Any) -> str:
    """The type in words: `integer`, `list of number`, `text or null`."""
    kind = kind_of(annotation)
    if kind:
        return f"{kind} (a name, or a mapping with `use:`)"
    words = {
        bool: "true or false",
        int: "integer",
        float: "number",
        str: "text",
        Path: "path",
        type(None): "null",
        Any: "anything",
    }
    if annotation in words:
        return words[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [str(extra) for extra in args[1:] if type(extra).__name__ == "Range"]
        return " ".join([type_name(args[0]), *limits])
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if is_union(annotation):
        return " or ".join(type_name(a) for a in args if a is type(None) or writable(a))
    if annotation in LISTS or annotation in MAPPINGS:
        return "list" if annotation in LISTS else "mapping"
    if origin is tuple and Ellipsis not in args:
        return "list [" + ", ".join(type_name(a) for a in args) + "]"
    if origin in LISTS:
        return f"list of {type_name(args[0])}"
    if origin in MAPPINGS:
        return f"mapping of {type_name(args[1])}"
    return "mapping" if is_dataclass(annotation) else getattr(annotation, "__name__", str(annotation))
