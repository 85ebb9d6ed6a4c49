"""Validation of components by pydantic: `use` names a class, and a model of its constructor checks the other keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic_core import core_schema

from ..util import messages
from ..util.errors import BadInput
from ..util.messages import LONGEST_LINE, shortened
from ..util.paths import expanded
from . import legacy, registry
from .signature import LISTS, MAPPINGS, REQUIRED, Parameter, alternatives, kind_of, parameters, type_name, writable
from .spec import Spec, plain, unconfirmed_paths
from .tree import Placed, PlacedFloat, PlacedInt, as_text
from .trust import Trust, UnconfirmedPath
from .wording import KeyedKind, at, keys_of, recipe_error, reworded

# Kinds that hold weights or read files. The others are cheap and are built during validation, so that the message for a
# value that the constructor refuses names its line.
EXPENSIVE = {"dataset", "codec", "network", "condition", "feature", "metric"}
MOST_COMPONENTS = 200  # of one recipe
MISSING = object()
NULL = {"type": "null"}
DEFINITIONS = "https://definitions/"  # `schema` turns these into references


@dataclass
class ValidationContext:
    """Options and intermediate results of one validation.

    Attributes:
        allow_code: Whether `use` may name code wherever it stands; else only where the text is trusted.
        partial: Accept null for required values, which the user fills in later (`data.root: null`).
        good: Top-level key -> value, for the sections that are valid.
        renamed: Old name -> new name, for the old names found.
        count: Number of components so far.
    """

    allow_code: bool = False
    partial: bool = False
    good: dict[str, Any] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    count: int = 0


class Section(BaseModel):
    """A mapping of a recipe. Unknown keys are refused, only integers are converted (to float); null: all defaults."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        validate_default=True,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value


@dataclass(frozen=True)
class Component(KeyedKind):
    """A component as a field of a model: `schedule: Annotated[Spec, Component("schedule", "edm")]`.

    Attributes:
        default: The component that a mapping without `use:` means.
        section_keys: Keys of the section that shares the mapping; messages suggest them too.
        many: Whether a list of components is accepted too.
    """

    default: str | None = None
    section_keys: tuple[str, ...] = ()
    many: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.with_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        one = {"$ref": DEFINITIONS + self.name}
        return {"anyOf": [one, {"type": "array", "items": one}]} if self.many else one

    def validate(self, value: Any, info: ValidationInfo) -> Spec | list[Spec]:
        """The Spec of a name, or of a mapping with `use:` and parameters of the constructor's types."""
        if self.many and isinstance(value, list):
            listed = _list(list, (Annotated[Spec, Component(self.name, self.default)],))
            return TypeAdapter(listed).validate_python(value, context=info.context)
        context = info.context or ValidationContext()
        context.count += 1
        if context.count > MOST_COMPONENTS:
            raise recipe_error("refused", message=f"a recipe has at most {MOST_COMPONENTS} components")
        use, given = self._use(value)
        use = legacy.component(self.name, use, registry.builtins(self.name), context.renamed)
        cls = self._class(use, context, () if isinstance(value, str) else ("use",))
        model = parameter_model(cls, self.name)
        given = {legacy.parameter(n, keys_of(model), context.renamed): v for n, v in given.items()}
        try:
            values = model.model_validate(given, context=context)
        except ValidationError as error:
            hidden = [n for n, p in parameters(cls, self.name).items() if p.hidden]
            raise reworded(error, model, given, owner=use, section_keys=self.section_keys, hidden=hidden) from None
        spec = Spec(self.name, str(registry.code_path(use, _base(use))), _values(values))
        try:
            try_build(spec, context.partial)
        except (BadInput, ValueError, ArithmeticError) as error:  # a value that overflows is too large
            raise recipe_error("refused", message=shortened(str(error), LONGEST_LINE)) from error
        return spec

    def accepts(self, value: Any) -> Collection[str]:
        use = value if isinstance(value, str) else value.get("use") if isinstance(value, dict) else None
        use = use or self.default
        if not isinstance(use, str) or use not in registry.names(self.name):
            return ()
        return keys_of(parameter_model(registry.find(self.name, use), self.name))

    def _use(self, value: Any) -> tuple[str, dict[str, Any]]:
        if isinstance(value, Spec):
            return value.use, dict(value.params)
        if isinstance(value, str):
            return _yaml(value), {}
        noun = registry.noun(self.name)
        if not isinstance(value, dict):
            raise recipe_error("expected", type=f"{noun}: a name, or a mapping with `use:`")
        use = value.get("use")
        use = self.default if use is None and "use" not in value else use
        if use is None and "use" not in value:
            raise recipe_error("refused", message=f"needs `use:`, one of {', '.join(registry.names(self.name))}")
        if not isinstance(use, str):
            raise at(("use",), recipe_error("expected", type=f"the name of {messages.with_article(noun)}"))
        return _yaml(use), {k: v for k, v in value.items() if k != "use"}

    def _class(self, use: str, context: ValidationContext, loc: tuple[str, ...]) -> type:
        try:
            return registry.find(self.name, use, _base(use), context.allow_code or _trust(use) >= Trust.CODE)
        except BadInput as error:
            raise at(loc, recipe_error("use", message=str(error))) from error


def _base(value: Any) -> Path | None:
    """The folder that a relative path starts from."""
    return value.mark.base if isinstance(value, Placed) else None


def _yaml(name: str) -> str:
    """The name of a component, unless it is a mapping or list that is not valid YAML."""
    if isinstance(name, Placed) and name.problem:
        raise recipe_error("refused", message=name.problem)
    return name


def _trust(value: Any) -> Trust:
    """How far a value is trusted; not at all if its position is not known."""
    return value.mark.trust if isinstance(value, Placed) else Trust.NONE


def try_build(spec: Spec, partial: bool = False) -> Any:
    """The component, built; None if building is expensive, or needs values that are not known or not confirmed."""
    hidden = [p for p in parameters(registry.find(spec.kind, spec.use), spec.kind).values() if p.hidden]
    if spec.kind in EXPENSIVE or any(p.default is REQUIRED for p in hidden) or unconfirmed_paths(spec.params):
        return None
    return None if partial and None in spec.params.values() else spec.build()


# --- the model of a constructor ---


@cache
def parameter_model(cls: type, kind: str = "") -> type[BaseModel]:
    """A pydantic model of the constructor parameters that a recipe may set."""
    fields = {f"p_{p.name}": _field(p) for p in parameters(cls, kind).values() if not p.hidden}
    return create_model(cls.__name__, __base__=Section, **fields)  # type: ignore[call-overload]


def _field(p: Parameter) -> tuple[Any, Any]:
    checked = _type(p.annotation, p.default if isinstance(p.default, str) else None)
    if p.default is REQUIRED:
        needed = Annotated[checked, WrapValidator(_needed(p))]
        return needed, Field(
            alias=p.name, description=p.doc, default_factory=lambda: MISSING, json_schema_extra=_or_null
        )
    # A default is validated like a written value, so that a recipe and its resolved text give the same result.
    default = Field(alias=p.name, description=p.doc, default=plain(p.default))
    try:
        create_model("Default", __base__=Section, value=(checked, Field(default=plain(p.default))))()
    except ValidationError:
        default = Field(alias=p.name, description=p.doc, default=p.default, validate_default=False)
    return checked, default


def _or_null(schema: dict[str, Any]) -> None:
    """Accept null for a required value, which the user fills in later."""
    inner = {name: schema.pop(name) for name in list(schema) if name != "description"}
    schema["anyOf"] = [inner, NULL]


def _needed(p: Parameter) -> Callable[[Any, Any, ValidationInfo], Any]:
    takes_null = p.annotation is Any or type(None) in alternatives(p.annotation)

    def check(value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
        if value is not MISSING and (value is not None or takes_null):
            return handler(value)
        if info.context is not None and info.context.partial:
            return None
        raise recipe_error("needed", type=type_name(p.annotation), doc=p.doc)

    return check


def _type(annotation: Any, default: str | None = None) -> Any:
    """A constructor's annotation for pydantic: components, paths and lists become types that validate them."""
    origin, args = get_origin(annotation), get_args(annotation)
    if kind := kind_of(annotation):
        component = Annotated[Spec, Component(legacy.kind_of(kind.name), default)]
        return Optional[component] if type(None) in alternatives(args[0]) else component  # noqa: UP045
    if origin is Annotated:
        return Annotated[(_type(args[0]), *args[1:])]
    if origin is Literal:
        return Annotated[annotation, BeforeValidator(exactly(args))]
    if options := [a for a in alternatives(annotation) if writable(a) or a is type(None)]:
        return _union(options, default)
    if annotation is Any:
        return Free
    if annotation in (Path, str):
        return PathField if annotation is Path else Text
    if annotation in LISTS or origin in LISTS:
        return _list(annotation if origin is None else origin, args)
    if annotation in MAPPINGS or origin in MAPPINGS:
        return _mapping(*args) if args else _mapping(Any, Any)
    if is_dataclass(annotation) and isinstance(annotation, type):
        model = parameter_model(annotation)
        return Annotated[model, AfterValidator(lambda m: _construct(annotation, m))]
    return annotation


def _values(model: BaseModel) -> dict[str, Any]:
    return {f.alias or name: getattr(model, name) for name, f in type(model).model_fields.items()}


def _construct(cls: type, model: BaseModel) -> Any:
    try:
        return cls(**_values(model))
    except BadInput as error:
        raise recipe_error("refused", message=str(error)) from error


def _union(options: list[Any], default: str | None) -> Any:
    null = type(None) in options
    options = [a for a in options if a is not type(None)]
    options = [a for a in options if a is not str or Path not in options]  # a text that may be a path is a path
    kinds = [kind for a in options for kind in [kind_of(a), *map(kind_of, get_args(a))] if kind]
    if kinds:
        many = any(get_origin(a) in LISTS for a in options)
        options = [Annotated[Any, Component(legacy.kind_of(kinds[0].name), default, many=many)]]
    else:
        options = [_type(a) for a in options]
    return Union[tuple([*options, None] if null else options)]  # noqa: UP007


def _list(container: Any, args: tuple[Any, ...]) -> Any:
    types = [a if a is Ellipsis else _type(a) for a in args or (Any,)]
    if container is tuple:
        result = tuple[tuple(types)] if args else tuple[types[0], ...]
    else:
        result = list[types[0]]
    return Annotated[result, Strict(False)]  # YAML has lists but no tuples


def _mapping(key: Any, value: Any) -> Any:
    result = dict[Annotated[int, Strict(False)] if key is int else key, _type(value)]
    return Annotated[result, BeforeValidator(_without_nulls if kind_of(value) else _no_null)]


# --- validators of single values ---


def _no_null(value: Any) -> Any:
    return {} if value is None else value


def _without_nulls(value: Any) -> Any:
    """Remove entries that a child recipe sets to null: `conditioning: {label: null}`. A null mapping is empty."""
    value = _no_null(value)
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _path(value: Any, handler: Callable[[Any], Any]) -> Any:
    text = as_text(value)
    if not isinstance(text, str) or isinstance(value, bool):
        return handler(value)
    trusted = _trust(value) >= Trust.PATHS or not isinstance(value, Placed)
    try:
        path = Path(os.path.abspath((_base(value) or Path.cwd()) / expanded(text, look=trusted)))
    except BadInput as error:
        raise recipe_error("refused", message=str(error)) from error
    return path if trusted else UnconfirmedPath(path)


def exactly(options: tuple[Any, ...]) -> Callable[[Any], Any]:
    """A check that a value is one of the options and of its type: `true` is not 1."""

    def check(value: Any) -> Any:
        for option in options:
            given = plain(as_text(value) if isinstance(option, str) else value)
            if type(given) is type(option) and given == option:
                return given
        raise recipe_error("expected", type=f"one of {', '.join(map(str, options))}", options=list(map(str, options)))

    return check


def named(value: Any) -> Any:
    """Plain values for conditions: a number that is written in an unusual way (`007`, `3.10`) stays the text it is."""
    if isinstance(value, Placed) and value.problem:
        raise recipe_error("refused", message=f"{value.problem}; a name that starts so is put in quotes: '\"[x]\"'")
    if isinstance(value, (PlacedInt, PlacedFloat)):
        return plain(value) if str(plain(value)) == value.text else value.text
    if isinstance(value, dict):
        return {str(k): named(v) for k, v in value.items()}
    return [named(v) for v in value] if isinstance(value, (list, tuple)) else plain(value)


Free = Annotated[Any, AfterValidator(plain)]
Names = Annotated[Any, AfterValidator(named)]
Text = Annotated[str, BeforeValidator(as_text)]
PathField = Annotated[Path, WrapValidator(_path)]
Metrics = Annotated[
    list[Annotated[Spec, Component("metric")]],
    BeforeValidator(lambda value: [] if value is None else value),
    WithJsonSchema({"type": ["array", "null"], "items": {"$ref": DEFINITIONS + "metric"}}),
]
Conditions = Annotated[
    dict[str, Annotated[Spec, Component("condition")]],
    BeforeValidator(_without_nulls),
    WithJsonSchema(
        {
            "type": ["object", "null"],
            "additionalProperties": {"anyOf": [{"$ref": DEFINITIONS + "condition"}, NULL]},
        }
    ),
]
