"""What a client may ask of the studio: settings of samples and edits, and the parts of comparisons and sweeps."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..config.recipe import Recipe
from ..config.registry import is_code_reference
from ..util.errors import BadInput
from ..util.messages import shorten
from .items import Identifier
from .limits import StudioLimits

EDITS = ("vary", "inpaint", "continue", "restore", "morph", "reprompt", "recover")
_DOTTED = re.compile(r"(guidance|timesteps|conditions)\.[\w.-]{1,80}")
_LONGEST, _DEEPEST = 4000, 8  # characters of a text, and levels of nesting in a setting
Text = Annotated[str, Field(max_length=_LONGEST)]
Count = Annotated[int, Field(ge=1)]


class SampleSettings(BaseModel):
    """Settings of samples: keys of the recipe's `sample` section; what is left out is as the recipe says.

    Further keys `guidance.scale`, `timesteps.NAME` and `conditions.NAME` change one value in a section.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: Annotated[str, Field(max_length=255)]
    checkpoint: Annotated[str, Field(max_length=255)] | None = None
    prompt: Text | list[Text] | None = None
    negative: Text | None = None
    conditions: dict[str, Any] | None = None
    label: Any = None
    count: Count | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    steps: Count | None = None
    use: Text | None = None
    timesteps: Text | dict[str, Any] | None = None
    guidance: float | dict[str, Any] | list[dict[str, Any]] | None = None
    seconds: float | None = None
    size: int | list[int] | None = None
    loop: bool | None = None
    windows: float | None = None
    calibrated: bool | None = None
    trajectory: bool = False

    def check(self, limits: StudioLimits) -> None:
        """Raise BadInput for a key that is not known, or a value that a studio does not take."""
        for key in self.model_extra or {}:
            if not _DOTTED.fullmatch(key):
                raise BadInput(f"{shorten(key)!r} is no setting of the studio; there are: {', '.join(self.names())}")
        for key, value in self.given().items():
            _check_value(key, value)
        if (self.steps or 0) > limits.steps:
            raise BadInput(f"steps is at most {limits.steps} in the studio")

    @classmethod
    def names(cls) -> list[str]:
        """The names of the settings."""
        return [name for name in cls.model_fields if name not in ("kind", "edit")]

    def given(self) -> dict[str, Any]:
        """The settings that the client gave; null means "not given", except where it is a value."""
        with_null = ("label", "guidance")
        found = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        found = {k: v for k, v in found.items() if v is not None or k in with_null}
        return {**found, **(self.model_extra or {})}

    def changes(self, recipe: Recipe) -> dict[str, Any]:
        """The changes of the recipe's `sample` section, with the prompt, as `Pipeline.sample` takes them."""
        skipped = ("model", "checkpoint", "trajectory", "guidance", "conditions")
        given = {k: v for k, v in self.given().items() if k in SampleSettings.model_fields and k not in skipped}
        if given.get("prompt") in ("", []):
            del given["prompt"]
        if "guidance" in self.model_fields_set:
            given |= _guidance_changes(self.guidance, recipe)
        given |= {f"conditions.{name}": value for name, value in (self.conditions or {}).items()}
        return given | (self.model_extra or {})


class EditSettings(SampleSettings):
    """Settings of an edit: those of samples, and the options of the edit."""

    edit: Literal["vary", "inpaint", "continue", "restore", "morph", "reprompt", "recover"]
    inputs: Annotated[list[Identifier], Field(min_length=1, max_length=16)]
    mask: Identifier | None = None
    spans: Annotated[list[tuple[float, float]], Field(min_length=1)] | None = None
    box: tuple[int, int, int, int] | None = None
    strength: float | None = None
    source: Text | None = None
    resample: int | None = None
    jump: int | None = None
    trained: bool | None = None
    operator: Text | dict[str, Any] | None = None
    noise: float | None = None
    method: Literal["mmps", "pigdm", "dps"] | None = None
    degrade: bool | None = None

    def options(self) -> dict[str, Any]:
        """The options of the edit that were given, without the mask, which is an item."""
        names = set(EditSettings.model_fields) - set(SampleSettings.model_fields) - {"edit", "inputs", "mask"}
        found = {k: v for k, v in self.given().items() if k in names}
        if self.count is not None and self.edit != "reprompt":
            found["count"] = self.count
        if self.seconds is not None and self.edit == "continue":
            found["seconds"] = self.seconds
        if self.edit == "recover":
            found.setdefault("operator", None)
        return found

    def changes(self, recipe: Recipe) -> dict[str, Any]:
        taken = self.options()
        return {k: v for k, v in super().changes(recipe).items() if k not in taken and k != "count"}


class SampleRequestBody(SampleSettings):
    """New samples."""

    kind: Literal["sample"]


class EditRequestBody(EditSettings):
    """An edit of items."""

    kind: Literal["edit"]


class CompareRequestBody(BaseModel):
    """The same samples under two settings: seed and count are those of `a`."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["compare"]
    a: SampleSettings
    b: SampleSettings


class SweepRequestBody(BaseModel):
    """The same samples under all combinations of some settings."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["sweep"]
    base: SampleSettings
    axes: Annotated[
        dict[Text, Annotated[list[Any], Field(min_length=1, max_length=32)]], Field(min_length=1, max_length=4)
    ]


JobRequestBody = Annotated[
    SampleRequestBody | EditRequestBody | CompareRequestBody | SweepRequestBody, Field(discriminator="kind")
]


@dataclass(frozen=True)
class JobPart:
    """One call of a pipeline in a job.

    Attributes:
        settings: Its settings.
        side: Side of a comparison, "a" or "b".
        cell: Changed settings, in a sweep.
    """

    settings: SampleSettings
    side: str | None = None
    cell: dict[str, Any] | None = None


def parts_of(body: Any, limits: StudioLimits) -> list[JobPart]:
    """The parts of a job.

    Raises:
        BadInput: A setting is not known, or there are too many parts.
    """
    if isinstance(body, CompareRequestBody):
        same = {"seed": body.a.seed, "count": body.a.count}
        b = body.b.model_copy(update=same)
        b.model_fields_set.update(same)
        parts = [JobPart(body.a, side="a"), JobPart(b, side="b")]
    elif isinstance(body, SweepRequestBody):
        parts = list(_cells(body, limits))
    else:
        parts = [JobPart(body)]
    for part in parts:
        part.settings.check(limits)
    return parts


def _cells(body: SweepRequestBody, limits: StudioLimits) -> Iterator[JobPart]:
    number = 1
    for values in body.axes.values():
        number *= len(values)
    if number > limits.cells:
        raise BadInput(f"a sweep has at most {limits.cells} cells, and this one has {number}: take fewer values")
    given = body.base.model_dump(exclude_unset=True)
    for values in itertools.product(*body.axes.values()):
        cell = dict(zip(body.axes, values, strict=True))
        if fixed := {"model", "trajectory"} & set(cell):
            raise BadInput(f"{fixed.pop()} cannot be an axis of a sweep")
        yield JobPart(SampleSettings.model_validate({**given, **cell}), cell=cell)


def _guidance_changes(guidance: Any, recipe: Recipe) -> dict[str, Any]:
    """The changes for a scale, a mapping with or without `use`, a list, or null."""
    scale = {"scale": guidance} if isinstance(guidance, (int, float)) else guidance
    if not isinstance(scale, dict) or "use" in scale:
        return {"guidance": scale}
    if recipe.sample.guidance is None or isinstance(recipe.sample.guidance, list):
        return {"guidance": {"use": "cfg", **scale}}
    return {f"guidance.{name}": value for name, value in scale.items()}


def _check_value(key: str, value: Any, depth: int = 0) -> None:
    """Raise BadInput for a value that is nested too deeply, too long, or names code; or that JSON cannot hold."""
    if depth > _DEEPEST:
        raise BadInput(f"{shorten(key)} is nested too deeply")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{shorten(key)} is not a finite number")
    if isinstance(value, str):
        if len(value) > _LONGEST:
            raise BadInput(f"{shorten(key)} has more than {_LONGEST} characters")
        if not _is_unicode(value):
            raise BadInput(f"{shorten(key)} contains half of a character (a lone surrogate)")
        if key.partition(".")[0] in ("use", "timesteps", "guidance", "operator") and is_code_reference(value):
            raise BadInput(f"{shorten(key)}: the studio runs registered components only, and no code by its name")
    inner: Any = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        if not _is_unicode(str(name)):
            raise BadInput(f"{shorten(key)} contains half of a character (a lone surrogate)")
        _check_value(f"{key}.{name}", one, depth + 1)


def _is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON can also escape half of a character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
