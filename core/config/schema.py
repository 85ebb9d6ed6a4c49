"""The JSON schema (draft-07) of recipes, for editors: pydantic's own, of the models that validation uses.

A component is `if use = X then {its parameters}`, one for each X, under `allOf`, beside an enum of the names: so an
editor completes both, and flags what validation would flag.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from ..util.errors import BrokenPlugin
from . import registry
from .components import parameter_model
from .recipe import DEFAULT_SAMPLER, Recipe
from .sections import Sample, Split
from .signature import about
from .wording import SAMPLER, SPLIT

CODE = {"type": "string", "pattern": ":", "description": "pkg.module:Class, or ./file.py:Class beside the recipe"}
REFERENCE = "#/definitions/"


class Draft07(GenerateJsonSchema):
    """pydantic's schema in the words of draft-07, which editors know."""

    def tuple_schema(self, schema: Any) -> dict[str, Any]:
        """A list whose items have a schema each."""
        made = super().tuple_schema(schema)
        if "prefixItems" in made:
            made["items"] = made.pop("prefixItems")
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No titles: the names of the keys say it."""
        return False


def schema() -> dict[str, Any]:
    """The schema of a whole recipe. Imports every component; a plugin that cannot be loaded is only named."""
    definitions: dict[str, Any] = {kind: component(kind) for kind in registry.kinds()}
    top = section(Recipe, definitions)
    data, sample = section(Split, definitions), section(Sample, definitions)
    definitions["data"] = component("dataset", {"split": data})
    definitions["sample"] = component("sampler", sample["properties"], DEFAULT_SAMPLER)
    keys = top["properties"]
    del keys[SPLIT], keys[SAMPLER]
    for name in ("data", "sample"):
        keys[name] = {"$ref": REFERENCE + name, "description": keys[name]["description"]}
    keys["extends"] = {"type": "string", "description": "a recipe (name or path) that this one changes"}
    return {
        **top,
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "sonolux recipe",
        "required": ["recipe"],
        # What a recipe extends may hold the rest.
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": ["recipe", "modality", "data", "network"]},
        "patternProperties": {"^x-": {"description": "free for notes and anchors"}},
        "definitions": definitions,
    }


def component(kind: str, beside: dict[str, Any] | None = None, default: str | None = None) -> dict[str, Any]:
    """A component of a kind: its bare name, or a mapping with `use:`.

    Args:
        kind: one of `registry.kinds()`.
        beside: properties of the section that shares the mapping.
        default: the component that a mapping without `use:` means.
    """
    names, beside = registry.names(kind), beside or {}
    use: dict[str, Any] = {"anyOf": [{"enum": names}, CODE]}
    if default is not None:
        use["default"] = default
    cases = []
    for name in names:
        try:
            cls = registry.find(kind, name)
        except BrokenPlugin:
            continue
        properties = {"use": {}, **parameters(cls, kind), **beside}
        then = {"description": about(cls), "properties": properties, "additionalProperties": False}
        case: dict[str, Any] = {"properties": {"use": {"const": name}}}
        if name != default:
            case["required"] = ["use"]
        cases.append({"if": case, "then": then})
    mapping = {"type": "object", "properties": {"use": use, **beside}, "allOf": cases}
    return {"if": {"type": "object"}, "then": mapping, "else": {"anyOf": [{"enum": names}, CODE]}}


def parameters(cls: type, kind: str) -> dict[str, Any]:
    """The schema of each parameter of a constructor."""
    definitions: dict[str, Any] = {}
    properties = section(parameter_model(cls, kind), definitions)["properties"]
    return _inlined(properties, definitions)


def section(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """The object schema of a section; those of sections inside it are added to the definitions."""
    made = model.model_json_schema(schema_generator=Draft07, ref_template=REFERENCE + "{model}")
    definitions.update(_mended(made.pop("$defs", {})))
    return {"properties": {}, **_mended(made)}


def _mended(rule: Any) -> Any:
    """Without words that draft-07 or a reader has no use for, and with references to components."""
    if isinstance(rule, list):
        return [_mended(r) for r in rule]
    if not isinstance(rule, dict):
        return rule
    out = {}
    for name, value in rule.items():
        if name in ("title", "format") and isinstance(value, str):
            continue
        if name == "$ref" and not value.startswith("#"):
            value = REFERENCE + value.rpartition("/")[2]
        out[name] = value if name == "default" else _mended(value)
    return out


def _inlined(rule: Any, definitions: dict[str, Any]) -> Any:
    """With the sections of a component written out: a name of theirs may be another component's too."""
    if isinstance(rule, list):
        return [_inlined(r, definitions) for r in rule]
    if not isinstance(rule, dict):
        return rule
    named = rule.get("$ref", "").removeprefix(REFERENCE) if isinstance(rule.get("$ref"), str) else ""
    if named in definitions:
        rest = {k: v for k, v in rule.items() if k != "$ref"}
        return {**_inlined(definitions[named], definitions), **rest}
    return {k: _inlined(v, definitions) for k, v in rule.items()}
