"""What a constructor says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from sonolux.core.config import registry, signature
from sonolux.core.config.signature import (
    REQUIRED,
    constructor_parameters,
    first_docstring_line,
    parameter_docs,
    type_name,
)
from sonolux.core.types import MediaSpec
from sonolux.core.util.annotations import ComponentKind, Range


@dataclass
class Inner:
    """A part."""

    a: int = 1


class Good(torch.nn.Module):
    """What it is.

    More about it: with a colon.

    root:     a folder,
              said at length
    a, b:     two numbers
    spacing:  steps
    """

    def __init__(
        self,
        spec: MediaSpec,
        root: Path,
        a: float = 1.0,
        b: float | None = None,
        kind: Literal["x", "y"] = "x",
        spacing: Annotated[Any, ComponentKind("spacing")] = "karras",
        inner: Inner | None = None,
        model: torch.nn.Module | None = None,
        levels: list[float | torch.Tensor] = (),
        sizes: dict[str, Annotated[int, Range(1)]] | None = None,
    ):
        super().__init__()


def test_parameters_carry_type_default_and_text():
    p = constructor_parameters(Good)
    assert {n for n, q in p.items() if q.hidden} == {"spec", "model"}
    assert p["root"].default is REQUIRED and p["root"].doc == "a folder, said at length"
    assert p["a"].doc == p["b"].doc == "two numbers" and p["b"].default is None
    assert type_name(p["b"].annotation) == "number or null"
    assert type_name(p["kind"].annotation) == "one of x, y"
    assert type_name(p["inner"].annotation) == "mapping or null"
    assert type_name(p["sizes"].annotation) == "mapping of integer of at least 1 or null"
    assert type_name(p["levels"].annotation) == "list of number"
    assert first_docstring_line(Good) == "What it is." and "More about it" not in parameter_docs(Good)


class Google:
    """What it is.

    A line such as note: not a parameter.

    Args:
        root: a folder,
            said at length.
        a, b: two numbers.
        c (int): one more: with a colon.

    Raises:
        d: no parameter.
    """

    def __init__(self, root: Path, a: float = 1.0, b: float = 1.0, c: int = 1): ...


@dataclass
class Fields:
    """A part.

    Attributes:
        a: a number.
    """

    a: int = 1


def test_the_args_section_of_a_docstring_is_read():
    assert parameter_docs(Google) == {
        "root": "a folder, said at length", "a": "two numbers", "b": "two numbers", "c": "one more: with a colon"
    }  # fmt: skip
    assert (
        parameter_docs(Fields) == {"a": "a number"}
        and constructor_parameters(Google)["c"].doc == "one more: with a colon"
    )


def test_what_the_builder_decides_is_hidden():
    class Data:
        def __init__(self, root: Path, split: str, valid: float, seed: int): ...

    class Embeds:
        def __init__(self, width: int, drop: float = 0.1): ...

    assert [n for n, p in constructor_parameters(Data, "dataset").items() if not p.hidden] == ["root"]
    assert [n for n, p in constructor_parameters(Embeds, "condition").items() if not p.hidden] == ["drop"]
    assert [n for n, p in constructor_parameters(Embeds, "network").items() if not p.hidden] == ["width", "drop"]


def test_a_class_without_a_constructor_has_no_parameters():
    class Plain:
        """Nothing."""

    class Module(torch.nn.Module):
        """A module."""

    class Heir(Good):
        """Of another."""

    assert (
        constructor_parameters(Plain) == constructor_parameters(Module) == {}
        and constructor_parameters(Heir).keys() == constructor_parameters(Good).keys()
    )


def test_a_dataclass_is_a_component_too():
    assert constructor_parameters(Inner)["a"].default == 1


class Stars:
    """Bad."""

    def __init__(self, *args: int): ...


class Words:
    """Bad."""

    def __init__(self, **kwargs: int): ...


class Bare:
    """Bad."""

    def __init__(self, width=3): ...


class Placed:
    """Bad."""

    def __init__(self, width: int, /): ...


class Unknown:
    """Bad."""

    def __init__(self, width: NoSuchType): ...  # noqa: F821


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Stars, r"\*args"),
        (Words, r"\*\*kwargs"),
        (Bare, "'width' has no type"),
        (Placed, "positional"),
        (Unknown, "NoSuch"),
    ],
)
def test_a_constructor_that_no_recipe_can_describe(cls, said):
    with pytest.raises(TypeError, match=said):
        constructor_parameters(cls)


def undocumented(kind, name):
    """Parameters of a component without a text, and the component if it has no first line."""
    d = registry.describe_component(kind, name)
    return [p.name for p in d.parameters if not p.hidden and not p.doc] + ([] if d.about else [name])


@pytest.mark.parametrize("kind", registry.component_kinds())
def test_every_built_in_component_is_documented(kind):
    assert {n: undocumented(kind, n) for n in registry.builtin_files(kind) if undocumented(kind, n)} == {}


def test_a_parameter_without_a_text_is_caught(monkeypatch):
    monkeypatch.setattr("sonolux.core.config.signature.parameter_docs", lambda cls: {})
    monkeypatch.setattr(signature, "_parameters", signature._parameters.__wrapped__)  # nothing is remembered
    assert undocumented("schedule", "edm") == ["sigma_min", "sigma_max"]
