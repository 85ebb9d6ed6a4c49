"""A component that a recipe names but nobody has built yet."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from ..util.errors import BadInput
from .registry import find
from .signature import parameters


@dataclass
class Spec:
    """A validated, unbuilt component.

    Attributes:
        kind: what it is, one of `registry.kinds()`.
        use: its name, `pkg.module:Class`, or `/absolute/file.py:Class`.
        params: every parameter that a recipe may write, defaults included; components among them are Specs.
        where: the place in the recipe, for messages.
    """

    kind: str
    use: str
    params: dict[str, Any] = field(default_factory=dict)
    where: str = field(default="", compare=False)

    def build(self, **injected: Any) -> Any:
        """Construct the component.

        Args:
            injected: values for those parameters of these names that its constructor, or that of a component inside
                it, has.

        Raises:
            BadInput: the constructor's own, with the place in the recipe.
        """
        cls = find(self.kind, self.use)
        taken = parameters(cls, self.kind)
        if "spec" in injected:  # plugins of the first edition call it `signal`
            injected = {"signal": injected["spec"], **injected}
        values = {name: _built(value, injected) for name, value in self.params.items()}
        values.update({name: value for name, value in injected.items() if name in taken})
        try:
            return cls(**values)
        except BadInput as error:
            message = str(error)
            raise BadInput(
                f"{self.where}: {message}" if self.where and self.where not in message else message
            ) from error

    def resolved(self) -> dict[str, Any]:
        """The mapping that a recipe would hold, every default explicit."""
        return {"use": self.use, **{name: plain(value) for name, value in self.params.items()}}


def _built(value: Any, injected: dict[str, Any]) -> Any:
    if isinstance(value, Spec):
        return value.build(**injected)
    if isinstance(value, (list, tuple)):
        return type(value)(_built(v, injected) for v in value)
    if isinstance(value, dict):
        return {k: _built(v, injected) for k, v in value.items()}
    return value


def plain(value: Any) -> Any:
    """The value as YAML holds it: Specs, sections and dataclasses as mappings, paths as text, tuples as lists."""
    if isinstance(value, Spec):
        return value.resolved()
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, str) else value
