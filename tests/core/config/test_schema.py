"""The JSON schema agrees with validation: it takes what loads and flags what is refused."""

import json
import re

import pytest
from sonolux.core.config import registry, schema
from sonolux.core.config.load import load_recipe, packaged_recipes
from sonolux.core.config.recipe import Recipe
from sonolux.core.config.sections import (
    EmaSection,
    EvalSection,
    ProcessSection,
    SampleSection,
    SplitSection,
    TrainSection,
)
from sonolux.core.config.yaml import parse_yaml

KEYWORDS = set(
    [
        "$schema",
        "title",
        "description",
        "default",
        "definitions",
        "$ref",
        "type",
        "enum",
        "const",
        "pattern",
        "anyOf",
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "properties",
        "patternProperties",
        "additionalProperties",
        "required",
        "items",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
    ]
)
TYPES = {"string": str, "integer": int, "object": dict, "array": list, "boolean": bool, "null": type(None)}


def is_type(value, name):
    """JSON's types: true is no integer, and an integer is a number."""
    if name == "number":
        return type(value) in (int, float)
    return type(value) is TYPES[name]


def faults(value, rule, root, path=""):
    """What a draft-07 schema (the keywords that ours uses) says against a value."""
    assert set(rule) <= KEYWORDS, set(rule) - KEYWORDS
    if "$ref" in rule:
        return faults(value, root["definitions"][rule["$ref"].rpartition("/")[2]], root, path)
    out = []
    types = rule.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(is_type(value, t) for t in types):
        return [f"{path}: no {types}"]
    if "enum" in rule and not any(value == e and type(value) is type(e) for e in rule["enum"]):
        out.append(f"{path}: not in {rule['enum']}")
    if "const" in rule and value != rule["const"]:
        out.append(f"{path}: not {rule['const']}")
    if "pattern" in rule and isinstance(value, str) and not re.search(rule["pattern"], value):
        out.append(f"{path}: pattern")
    if type(value) in (int, float):
        if value < rule.get("minimum", value) or value > rule.get("maximum", value):
            out.append(f"{path}: range")
        if "exclusiveMinimum" in rule and value <= rule["exclusiveMinimum"]:
            out.append(f"{path}: range")
    if "anyOf" in rule and all(faults(value, r, root, path) for r in rule["anyOf"]):
        out.append(f"{path}: none of anyOf")
    for part in rule.get("allOf", []):
        out += faults(value, part, root, path)
    if "not" in rule and not faults(value, rule["not"], root, path):
        out.append(f"{path}: not")
    if "if" in rule:
        out += faults(value, rule.get("else" if faults(value, rule["if"], root, path) else "then", {}), root, path)
    if isinstance(value, dict):
        out += [f"{path}: lacks {k}" for k in rule.get("required", []) if k not in value]
        for k, v in value.items():
            inner = [rule["properties"][k]] if k in rule.get("properties", {}) else []
            inner += [r for p, r in rule.get("patternProperties", {}).items() if re.search(p, k)]
            extra = rule.get("additionalProperties", True)
            if not inner and extra is False:
                out.append(f"{path}.{k}: unknown")
            elif not inner and isinstance(extra, dict):
                inner = [extra]
            out += [f for r in inner for f in faults(v, r, root, f"{path}.{k}")]
    if isinstance(value, list):
        items = rule.get("items", {})
        each = items if isinstance(items, list) else [items] * len(value)
        out += [
            f for i, (v, r) in enumerate(zip(value, each, strict=False)) for f in faults(v, r, root, f"{path}[{i}]")
        ]
        if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
            out.append(f"{path}: length")
    return out


@pytest.fixture(scope="module")
def made():
    return schema.recipe_schema()


def judged(made, text):
    problems = []
    node = parse_yaml(text, "r.yaml", registry.ROOT, problems)
    assert not problems
    return faults(node.plain(), made, made)


def check_packaged_and_resolved(made):
    for name, file in packaged_recipes().items():
        assert judged(made, file.read_text()) == [], name
        assert judged(made, load_recipe(name, partial=True).dump()) == [], name


@pytest.mark.slow
def test_the_schema_is_plain_json_and_takes_every_recipe(made):
    assert json.loads(json.dumps(made)) == made
    check_packaged_and_resolved(made)


def test_a_schema_that_hides_a_parameter_is_caught(monkeypatch):
    true = schema.parameter_schemas
    monkeypatch.setattr(schema, "parameter_schemas", lambda cls, kind: dict(list(true(cls, kind).items())[:-1]))
    with pytest.raises(AssertionError):
        check_packaged_and_resolved(schema.recipe_schema())


GOOD = """\
recipe: 1
modality: image
data: {use: image/shapes, split: {valid: 0.2}}
codec: image/pixels
network: {use: image/unet, width: 32}
conditioning: {label: class}
process: {schedule: {use: edm, sigma_max: 40}}
train: {steps: 10, optimizer: {use: adamw, lr: 1e-3}}
sample: {use: ddim, eta: 0.5, timesteps: karras, steps: 5}
x-note: [anything]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "nmae: x\n"),
        ("width: 32", "widht: 32"),
        ("width: 32", "width: '32'"),
        ("width: 32", "signal: 3"),
        ("use: image/unet", "use: image/unett"),
        ("modality: image", "modality: imagine"),
        ("valid: 0.2", "valid: 2"),
        ("valid: 0.2", "vald: 0.2"),
        ("sigma_max: 40", "sigma_max: big"),
        ("steps: 10", "steps: 0"),
        ("steps: 10", "minutes: 0"),
        ("eta: 0.5", "etta: 0.5"),
        ("timesteps: karras", "timesteps: karas"),
        ("lr: 1e-3", "rate: 1e-3"),
        ("recipe: 1", "recipe: 2"),
        ("label: class", "label: clas"),
        ("steps: 5", "count: 1.5"),
        ("network: {use: image/unet, width: 32}\n", ""),
    ],
)
def test_it_flags_what_validation_refuses(made, tmp_path, old, new):
    assert judged(made, GOOD) == []
    bad = GOOD.replace(old, new, 1) if old else GOOD + new
    assert judged(made, bad)
    (tmp_path / "bad.yaml").write_text(bad)
    from sonolux.core.types import BadInput

    with pytest.raises(BadInput):
        load_recipe(tmp_path / "bad.yaml")


def test_a_recipe_that_extends_another_may_leave_the_rest_out(made):
    assert judged(made, "recipe: 1\nextends: shapes\ntrain: {minutes: 1}\nconditioning: {label: null}\n") == []
    assert judged(made, "recipe: 1\ntrain: {minutes: 1}\n")


def test_code_may_be_named(made):
    assert judged(made, GOOD.replace("{use: image/unet, width: 32}", "{use: './net.py:Net', depth: 3}")) == []
    assert judged(made, GOOD.replace("{use: image/unet, width: 32}", "./net.py:Net")) == []


@pytest.mark.parametrize(
    "cls", [Recipe, ProcessSection, TrainSection, EmaSection, SampleSection, EvalSection, SplitSection]
)
def test_every_key_of_every_section_is_documented(cls):
    assert [name for name, field in cls.model_fields.items() if not field.description] == []
