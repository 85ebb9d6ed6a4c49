"""The JSON schema (draft-07) of recipes, for editors. It is pydantic's schema of the models that validation uses.

A component is an enum of names and, under `allOf`, one rule `if use = X then {its parameters}` for each name X. An
editor can then complete names and parameters, and mark what validation would refuse.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from ..util.errors import BrokenPlugin
from . import registry
from .components import parameter_model
from .recipe import DEFAULT_SAMPLER, Recipe
from .sections import SampleSection, SplitSection
from .signature import first_docstring_line
from .wording import SAMPLER, SPLIT

CODE = {"type": "string", "pattern": ":", "description": "pkg.module:Class, or ./file.py:Class relative to the recipe"}
REFERENCE = "#/definitions/"


class Draft07SchemaGenerator(GenerateJsonSchema):
    """pydantic's schema with the keywords of draft-07, which editors support."""

    def tuple_schema(self, schema: Any) -> dict[str, Any]:
        """A list with one schema for each item."""
        rule = super().tuple_schema(schema)
        if "prefixItems" in rule:
            rule["items"] = rule.pop("prefixItems")
        return rule

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No titles: the key names are enough."""
        return False


def recipe_schema() -> dict[str, Any]:
    """The schema of a whole recipe. Imports every component; a plugin that cannot be loaded is listed by name only."""
    definitions: dict[str, Any] = {kind: component_schema(kind) for kind in registry.component_kinds()}
    top = section_schema(Recipe, definitions)
    data, sample = section_schema(SplitSection, definitions), section_schema(SampleSection, definitions)
    definitions["data"] = component_schema("dataset", {"split": data})
    definitions["sample"] = component_schema("sampler", sample["properties"], DEFAULT_SAMPLER)
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
        # The recipe that is extended may contain the other sections.
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": ["recipe", "modality", "data", "network"]},
        "patternProperties": {"^x-": {"description": "for notes and anchors"}},
        "definitions": definitions,
    }


def component_schema(
    kind: str, section_properties: dict[str, Any] | None = None, default: str | None = None
) -> dict[str, Any]:
    """The schema of a component: its name, or a mapping with `use:`.

    Args:
        kind: One of `registry.component_kinds()`.
        section_properties: Properties of the section that shares the mapping.
        default: The component that a mapping without `use:` means.
    """
    names, section_properties = registry.component_names(kind), section_properties or {}
    use: dict[str, Any] = {"anyOf": [{"enum": names}, CODE]}
    if default is not None:
        use["default"] = default
    cases = []
    for name in names:
        try:
            cls = registry.find_class(kind, name)
        except BrokenPlugin:
            continue
        properties = {"use": {}, **parameter_schemas(cls, kind), **section_properties}
        then = {"description": first_docstring_line(cls), "properties": properties, "additionalProperties": False}
        case: dict[str, Any] = {"properties": {"use": {"const": name}}}
        if name != default:
            case["required"] = ["use"]
        cases.append({"if": case, "then": then})
    mapping = {"type": "object", "properties": {"use": use, **section_properties}, "allOf": cases}
    return {"if": {"type": "object"}, "then": mapping, "else": {"anyOf": [{"enum": names}, CODE]}}


def parameter_schemas(cls: type, kind: str) -> dict[str, Any]:
    """The schema of each parameter of a constructor."""
    definitions: dict[str, Any] = {}
    properties = section_schema(parameter_model(cls, kind), definitions)["properties"]
    return _inlined(properties, definitions)


def section_schema(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """The object schema of a section; schemas of nested sections are added to `definitions`."""
    rule = model.model_json_schema(schema_generator=Draft07SchemaGenerator, ref_template=REFERENCE + "{model}")
    definitions.update(_cleaned(rule.pop("$defs", {})))
    return {"properties": {}, **_cleaned(rule)}


def _cleaned(rule: Any) -> Any:
    """Remove keywords that draft-07 does not have or that do not help a reader, and complete component references."""
    if isinstance(rule, list):
        return [_cleaned(r) for r in rule]
    if not isinstance(rule, dict):
        return rule
    out = {}
    for name, value in rule.items():
        if name in ("title", "format") and isinstance(value, str):
            continue
        if name == "$ref" and not value.startswith("#"):
            value = REFERENCE + value.rpartition("/")[2]
        out[name] = value if name == "default" else _cleaned(value)
    return out


def _inlined(rule: Any, definitions: dict[str, Any]) -> Any:
    """Replace references to a component's nested sections by their content: other components may use the same names."""
    if isinstance(rule, list):
        return [_inlined(r, definitions) for r in rule]
    if not isinstance(rule, dict):
        return rule
    named = rule.get("$ref", "").removeprefix(REFERENCE) if isinstance(rule.get("$ref"), str) else ""
    if named in definitions:
        rest = {k: v for k, v in rule.items() if k != "$ref"}
        return {**_inlined(definitions[named], definitions), **rest}
    return {k: _inlined(v, definitions) for k, v in rule.items()}
