"""The JSON schema (draft-07) of recipes, for editors: made from the same signatures that validation reads.

A component is `if use = X then {its parameters}`, one for each X, under `allOf`, beside an enum of the names: so an
editor completes both, and flags what validation would flag.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from . import registry
from .recipe import DEFAULT_SAMPLER, Split, Top
from .sections import Sample
from .signature import LISTS, MAPPINGS, REQUIRED, Parameter, about, is_union, kind_of, parameters, writable
from .spec import Range, Spec, plain

CODE = {"type": "string", "pattern": ":", "description": "pkg.module:Class, or ./file.py:Class beside the recipe"}


def schema() -> dict[str, Any]:
    """The schema of a whole recipe. Imports every component; a plugin that cannot be loaded is only named."""
    definitions = {kind: component(kind) for kind in registry.kinds()}
    split = {"split": section(Split)}
    definitions["data"] = component("dataset", split)
    definitions["sample"] = component("sampler", section(Sample)["properties"], DEFAULT_SAMPLER)
    top = section(Top)
    top["properties"]["data"] = {"$ref": "#/definitions/data", "description": field_docs(Top)["data"]}
    top["properties"]["sample"] = {"$ref": "#/definitions/sample", "description": field_docs(Top)["sample"]}
    top["properties"]["extends"] = {"type": "string", "description": "a recipe (name or path) that this one changes"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "sonolux recipe",
        **top,
        "required": ["recipe"],
        # What a recipe extends may hold the rest.
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": ["recipe", "modality", "data", "network"]},
        "patternProperties": {"^x-": {"description": "free for notes and anchors"}},
        "definitions": definitions,
    }


def component(kind: str, beside: dict[str, Any] | None = None, default: str | None = None) -> dict[str, Any]:
    """A component of a kind: its bare name, or a mapping with `use:`.

    beside:  properties of the section that shares the mapping
    default: the component that a mapping without `use:` means
    """
    names, beside = registry.names(kind), beside or {}
    use: dict[str, Any] = {"anyOf": [{"enum": names}, CODE]}
    if default is not None:
        use["default"] = default
    cases = []
    for name in names:
        try:
            cls = registry.find(kind, name)
        except Exception as error:
            if type(error).__name__ != "BrokenPlugin":
                raise
            continue
        own = {n: _parameter(p) for n, p in parameters(cls, kind).items() if not p.hidden}
        then = {"description": about(cls), "properties": {"use": {}, **own, **beside}, "additionalProperties": False}
        case: dict[str, Any] = {"properties": {"use": {"const": name}}}
        if name != default:
            case["required"] = ["use"]
        cases.append({"if": case, "then": then})
    mapping = {"type": "object", "properties": {"use": use, **beside}, "allOf": cases}
    return {"if": {"type": "object"}, "then": mapping, "else": {"anyOf": [{"enum": names}, CODE]}}


def section(cls: type) -> dict[str, Any]:
    """A dataclass as an object schema."""
    hints, docs = typing.get_type_hints(cls, include_extras=True), field_docs(cls)
    properties = {}
    for f in dataclasses.fields(cls):
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        given = {} if default is dataclasses.MISSING else {"default": _short(default)}
        properties[f.name] = {"description": docs.get(f.name, ""), **given, **of_type(hints[f.name])}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _short(default: Any) -> Any:
    return default.use if isinstance(default, Spec) and not default.params else plain(default)


def _parameter(p: Parameter) -> dict[str, Any]:
    out = {"description": p.doc, **of_type(p.annotation)}
    if p.default is not REQUIRED:
        return {**out, "default": plain(p.default)}
    return {"description": p.doc, "anyOf": [of_type(p.annotation), {"type": "null"}]}  # null: to be filled in


def of_type(annotation: Any) -> dict[str, Any]:
    """The schema of a value of this type."""
    kind = kind_of(annotation)
    if kind:
        return {"$ref": f"#/definitions/{kind}"}
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return {**of_type(args[0]), **_limits(args[1:])}
    scalars = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string", type(None): "null"}
    if annotation in scalars:
        return {"type": scalars[annotation]}
    if origin is Literal:
        return {"enum": list(args)}
    if is_union(annotation):
        return {"anyOf": [of_type(a) for a in args if a is type(None) or writable(a)]}
    if annotation in LISTS or origin in LISTS:
        return _list(origin, args)
    if annotation in MAPPINGS or origin in MAPPINGS:
        inner = args[1] if args else Any
        optional = [{"type": "null"}] if kind_of(inner) else []  # null removes what a parent recipe has
        values = {"anyOf": [of_type(inner), *optional]} if optional else of_type(inner)
        return {"type": ["object", "null"], "additionalProperties": values}
    return section(annotation) if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) else {}


def _list(origin: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    if origin is tuple and Ellipsis not in args:
        items = [of_type(a) for a in args]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
    return {"type": "array", "items": of_type(args[0]) if args else {}}


def _limits(extras: tuple[Any, ...]) -> dict[str, float]:
    words = {"minimum": "low", "maximum": "high", "exclusiveMinimum": "above"}
    ranges = [e for e in extras if isinstance(e, Range)]
    return {word: getattr(r, name) for r in ranges for word, name in words.items() if getattr(r, name) is not None}


def field_docs(cls: type) -> dict[str, str]:
    """field -> the string that stands below it in the dataclass's source."""
    body = ast.parse(inspect.cleandoc(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    out: dict[str, str] = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            text = getattr(after.value, "value", None)
            if isinstance(text, str):
                out[before.target.id] = " ".join(text.split())
    return out
