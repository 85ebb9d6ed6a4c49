"""A component that a recipe names and that is not built yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel

from ..util.errors import BadInput
from .registry import find_class
from .signature import constructor_parameters
from .tree import SourcePosition, locate_message
from .trust import UnconfirmedPath, raise_unconfirmed_paths


@dataclass
class ComponentSpec:
    """A validated, unbuilt component.

    Attributes:
        kind: Kind of component, one of `registry.component_kinds()`.
        use: Registered name, `pkg.module:Class`, or `/absolute/file.py:Class`.
        params: Every parameter that a recipe may write, defaults included; components among them are ComponentSpecs.
        position: Position in the recipe, for messages; None: unknown.
        path: Path of its key in the recipe, for messages.
    """

    kind: str
    use: str
    params: dict[str, Any] = field(default_factory=dict)
    position: SourcePosition | None = field(default=None, compare=False)
    path: str = field(default="", compare=False)

    def build(self, **injected: Any) -> Any:
        """Construct the component.

        Args:
            injected: Values for constructor parameters, by name. Each constructor, also that of a component inside
                this one, receives those that it has a parameter for.

        Returns:
            The component.

        Raises:
            BadInput: The constructor refused a value (the message includes the position in the recipe), or a parameter
                is a path that a run of others names.
        """
        if unconfirmed := unconfirmed_paths(self.params):
            raise_unconfirmed_paths(unconfirmed)
        cls = find_class(self.kind, self.use)
        accepted = constructor_parameters(cls, self.kind)
        if "spec" in injected:  # plugins of the first edition call it `signal`
            injected = {"signal": injected["spec"], **injected}
        values = {name: _built(value, injected) for name, value in self.params.items()}
        values.update({name: value for name, value in injected.items() if name in accepted})
        try:
            return cls(**values)
        except BadInput as error:
            if self.position is None:
                raise
            raise BadInput(locate_message(self.position, self.path, str(error))) from error

    def resolved(self) -> dict[str, Any]:
        """The component as a recipe mapping, with every default written out."""
        return {"use": self.use, **{name: to_plain_values(value) for name, value in self.params.items()}}


def _built(value: Any, injected: dict[str, Any]) -> Any:
    if isinstance(value, ComponentSpec):
        return value.build(**injected)
    if isinstance(value, (list, tuple)):
        return type(value)(_built(v, injected) for v in value)
    if isinstance(value, dict):
        return {k: _built(v, injected) for k, v in value.items()}
    return value


def to_plain_values(value: Any) -> Any:
    """Convert a value to YAML types: Specs, sections and dataclasses to mappings, paths to text, tuples to lists."""
    if isinstance(value, ComponentSpec):
        return value.resolved()
    if isinstance(value, BaseModel):
        return {name: to_plain_values(getattr(value, name)) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain_values(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, (PurePath, UnconfirmedPath)):
        return str(value)
    if isinstance(value, dict):
        return {str(k): to_plain_values(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain_values(v) for v in value]
    for scalar in (str, int, float):
        if isinstance(value, scalar) and not isinstance(value, bool):
            return scalar(value)
    return value


def nested_values(value: Any) -> Iterable[tuple[int | str, Any]]:
    """The values directly inside a component, section, dataclass, mapping or list, with their keys."""
    if isinstance(value, ComponentSpec):
        return value.params.items()
    if isinstance(value, BaseModel):
        return [(name, getattr(value, name)) for name in type(value).model_fields]
    if is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in fields(value)]
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else ()


def nested_paths(value: Any, above: tuple[int | str, ...] = ()) -> Iterator[tuple[str, Path | UnconfirmedPath]]:
    """Key and value of every path in a value, at any depth: `weights`, `guidance.0.weak`."""
    if isinstance(value, (Path, UnconfirmedPath)):
        yield ".".join(map(str, above)), value
    for step, inner in nested_values(value):
        yield from nested_paths(inner, (*above, step))


def unconfirmed_paths(value: Any) -> list[UnconfirmedPath]:
    """The paths in a value that must not be used."""
    return [path for _, path in nested_paths(value) if isinstance(path, UnconfirmedPath)]
