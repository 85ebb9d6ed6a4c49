"""Validation of components by pydantic: `use` names a class, and a model of its constructor checks the other keys."""

from __future__ import annotations

import os
import re
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
from ..util.messages import LONGEST_LINE, format_argument, quote_for_yaml, shorten
from ..util.paths import expand_home, is_url
from . import legacy, registry
from .signature import (
    LISTS,
    MAPPINGS,
    REQUIRED,
    Parameter,
    annotated_kind,
    constructor_parameters,
    is_recipe_type,
    type_name,
    union_members,
)
from .spec import ComponentSpec, to_plain_values, unconfirmed_paths
from .tree import PositionedFloat, PositionedInt, PositionedValue, text_as_written
from .trust import TrustLevel, UnconfirmedPath
from .wording import ComponentKindWithKeys, error_at, key_annotations, recipe_error, reword_errors

# Kinds that hold weights or read files. The others are cheap and are built during validation, so that the message for a
# value that the constructor refuses names its line.
EXPENSIVE = {"dataset", "codec", "network", "condition", "text_encoder", "feature", "metric"}
MOST_COMPONENTS = 200  # of one recipe
_LONGEST_PROPOSAL = 60  # characters of a value for which a message writes out the arguments
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


class RecipeSection(BaseModel):
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


class ConstructorSection(RecipeSection):
    """The base of models that are made from a constructor; without a class body that pydantic would search for docs."""

    model_config = ConfigDict(use_attribute_docstrings=False)


@dataclass(frozen=True)
class ComponentField(ComponentKindWithKeys):
    """A component as a field of a model: `schedule: Annotated[ComponentSpec, ComponentField("schedule", "edm")]`.

    A class may have an attribute `stored_defaults`, name -> value: parameters that were added later, with the values of
    the time before. A recipe in a run or checkpoint names every parameter, so one that a component which it names lacks
    has this value.

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

    def validate(self, value: Any, info: ValidationInfo) -> ComponentSpec | list[ComponentSpec]:
        """The ComponentSpec of a name, or of a mapping with `use:` and parameters of the constructor's types."""
        if self.many and isinstance(value, list):
            listed = _list(list, (Annotated[ComponentSpec, ComponentField(self.name, self.default)],))
            return TypeAdapter(listed).validate_python(value, context=info.context)
        context = info.context or ValidationContext()
        context.count += 1
        if context.count > MOST_COMPONENTS:
            raise recipe_error("refused", message=f"a recipe has at most {MOST_COMPONENTS} components")
        use, given = self._use(value)
        stored = isinstance(use, PositionedValue) and use.mark.stored
        use = legacy.upgrade_component_name(self.name, use, registry.builtin_files(self.name), context.renamed)
        cls = self._class(use, context, () if isinstance(value, str) else ("use",))
        model = parameter_model(cls, self.name)
        given = {legacy.upgrade_parameter_name(n, key_annotations(model), context.renamed): v for n, v in given.items()}
        if stored:
            given = {**getattr(cls, "stored_defaults", {}), **given}
        try:
            values = model.model_validate(given, context=context)
        except ValidationError as error:
            hidden = [n for n, p in constructor_parameters(cls, self.name).items() if p.hidden]
            raise reword_errors(error, model, given, owner=use, section_keys=self.section_keys, hidden=hidden) from None
        spec = ComponentSpec(self.name, str(registry.absolute_code_reference(use, _base(use))), _values(values))
        try:
            build_if_cheap(spec, context.partial)
        except (BadInput, ValueError, ArithmeticError) as error:  # a value that overflows is too large
            raise recipe_error("refused", message=shorten(str(error), LONGEST_LINE)) from error
        return spec

    def accepts(self, value: Any) -> Collection[str]:
        use = value if isinstance(value, str) else value.get("use") if isinstance(value, dict) else None
        use = use or self.default
        if not isinstance(use, str) or use not in registry.component_names(self.name):
            return ()
        return key_annotations(parameter_model(registry.find_class(self.name, use), self.name))

    def _use(self, value: Any) -> tuple[str, dict[str, Any]]:
        if isinstance(value, ComponentSpec):
            return value.use, dict(value.params)
        if isinstance(value, str):
            return _yaml(value), {}
        noun = registry.kind_noun(self.name)
        if not isinstance(value, dict):
            raise recipe_error("expected", type=f"{noun}: a name, or a mapping with `use:`")
        use = value.get("use")
        use = self.default if use is None and "use" not in value else use
        if use is None and "use" not in value:
            raise recipe_error(
                "refused", message=f"needs `use:`, one of {', '.join(registry.component_names(self.name))}"
            )
        if not isinstance(use, str):
            raise error_at(("use",), recipe_error("expected", type=f"the name of {messages.with_article(noun)}"))
        return _yaml(use), {k: v for k, v in value.items() if k != "use"}

    def _class(self, use: str, context: ValidationContext, loc: tuple[str, ...]) -> type:
        try:
            return registry.find_class(self.name, use, _base(use), context.allow_code or _trust(use) >= TrustLevel.CODE)
        except BadInput as error:
            none = "null means no guidance; " if self.name == "guidance" and use.casefold() == "none" else ""
            raise error_at(loc, recipe_error("use", message=f"{none}{error}")) from error


def _base(value: Any) -> Path | None:
    """The folder that a relative path starts from."""
    return value.mark.base if isinstance(value, PositionedValue) else None


def _yaml(name: str) -> str:
    """The name of a component, unless it is a mapping or list that is not valid YAML."""
    if isinstance(name, PositionedValue) and name.problem:
        raise recipe_error("refused", message=name.problem)
    return name


def _trust(value: Any) -> TrustLevel:
    """How far a value is trusted; not at all if its position is not known."""
    return value.mark.trust if isinstance(value, PositionedValue) else TrustLevel.NONE


def build_if_cheap(spec: ComponentSpec, partial: bool = False) -> Any:
    """The component, built; None if building is expensive, or needs values that are not known or not confirmed."""
    hidden = [
        p for p in constructor_parameters(registry.find_class(spec.kind, spec.use), spec.kind).values() if p.hidden
    ]
    if spec.kind in EXPENSIVE or any(p.default is REQUIRED for p in hidden) or unconfirmed_paths(spec.params):
        return None
    return None if partial and None in spec.params.values() else spec.build()


# --- the model of a constructor ---


@cache
def parameter_model(cls: type, kind: str = "") -> type[BaseModel]:
    """A pydantic model of the constructor parameters that a recipe may set."""
    fields = {f"p_{p.name}": _field(p) for p in constructor_parameters(cls, kind).values() if not p.hidden}
    return create_model(cls.__name__, __base__=ConstructorSection, **fields)  # type: ignore[call-overload]


def _field(p: Parameter) -> tuple[Any, Any]:
    checked = _type(p.annotation, p.default if isinstance(p.default, str) else None)
    if p.default is REQUIRED:
        needed = Annotated[checked, WrapValidator(_needed(p))]
        return needed, Field(
            alias=p.name, description=p.doc, default_factory=lambda: MISSING, json_schema_extra=_or_null
        )
    # A default is validated like a written value, so that a recipe and its resolved text give the same result.
    default = Field(alias=p.name, description=p.doc, default=to_plain_values(p.default))
    try:
        create_model(
            "Default", __base__=ConstructorSection, value=(checked, Field(default=to_plain_values(p.default)))
        )()
    except ValidationError:
        default = Field(alias=p.name, description=p.doc, default=p.default, validate_default=False)
    return checked, default


def _or_null(schema: dict[str, Any]) -> None:
    """Accept null for a required value, which the user fills in later."""
    inner = {name: schema.pop(name) for name in list(schema) if name != "description"}
    schema["anyOf"] = [inner, NULL]


def _needed(p: Parameter) -> Callable[[Any, Any, ValidationInfo], Any]:
    takes_null = p.annotation is Any or type(None) in union_members(p.annotation)

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
    if kind := annotated_kind(annotation):
        component = Annotated[ComponentSpec, ComponentField(legacy.upgrade_kind_name(kind.name), default)]
        return Optional[component] if type(None) in union_members(args[0]) else component  # noqa: UP045
    if origin is Annotated:
        return Annotated[(_type(args[0]), *args[1:])]
    if origin is Literal:
        return Annotated[annotation, BeforeValidator(one_of_validator(args))]
    if options := [a for a in union_members(annotation) if is_recipe_type(a) or a is type(None)]:
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
    kinds = [kind for a in options for kind in [annotated_kind(a), *map(annotated_kind, get_args(a))] if kind]
    if kinds:
        many = any(get_origin(a) in LISTS for a in options)
        options = [Annotated[Any, ComponentField(legacy.upgrade_kind_name(kinds[0].name), default, many=many)]]
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
    return Annotated[result, BeforeValidator(_without_nulls if annotated_kind(value) else _no_null)]


# --- validators of single values ---


def _no_null(value: Any) -> Any:
    return {} if value is None else value


def _without_nulls(value: Any) -> Any:
    """Remove entries that a child recipe sets to null: `conditioning: {label: null}`. A null mapping is empty."""
    value = _no_null(value)
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _path(value: Any, handler: Callable[[Any], Any]) -> Any:
    text = text_as_written(value)
    if not isinstance(text, str) or isinstance(value, bool):
        return handler(value)
    trusted = _trust(value) >= TrustLevel.PATHS or not isinstance(value, PositionedValue)
    try:
        given = expand_home(text, look=trusted)
        path = given if is_url(given) else Path(os.path.abspath((_base(value) or Path.cwd()) / given))
    except BadInput as error:
        raise recipe_error("refused", message=str(error)) from error
    return path if trusted else UnconfirmedPath(path)


def one_of_validator(options: tuple[Any, ...]) -> Callable[[Any], Any]:
    """A check that a value is one of the options and of its type: `true` is not 1."""

    def check(value: Any) -> Any:
        for option in options:
            given = to_plain_values(text_as_written(value) if isinstance(option, str) else value)
            if type(given) is type(option) and given == option:
                return given
        raise recipe_error("expected", type=f"one of {', '.join(map(str, options))}", options=list(map(str, options)))

    return check


def plain_condition_values(value: Any) -> Any:
    """Plain values for conditions: a number that is written in an unusual way (`007`, `3.10`) stays the text it is."""
    if isinstance(value, PositionedValue) and value.problem:
        raise recipe_error("refused", message=f"{value.problem.partition(':')[0]}; {_how_to_write(value)}")
    if isinstance(value, (PositionedInt, PositionedFloat)):
        return to_plain_values(value) if str(to_plain_values(value)) == value.text else value.text
    if isinstance(value, dict):
        return {str(k): plain_condition_values(v) for k, v in value.items()}
    return [plain_condition_values(v) for v in value] if isinstance(value, (list, tuple)) else to_plain_values(value)


def check_prompts(value: Any) -> Any:
    """Refuse prompts that are no texts. A number is the text that it is written as; null alone is no prompt."""
    for item in value if isinstance(value, (list, tuple)) else ():
        if item is None:
            message = "a list of prompts contains texts only, not null; '' gives samples without a prompt"
            raise recipe_error("refused", message=message)
        check_prompts(item)
    if isinstance(value, bool):
        raise recipe_error("refused", message=f"a prompt is a text: write it in quotes, '{str(value).lower()}'")
    return value


def _how_to_write(value: PositionedValue) -> str:
    """The arguments for what a text in brackets that is not YAML may mean: a list or mixture of names, or one name."""
    text, key = value.text.strip(), value.mark.override.partition("=")[0].strip()
    if len(text) > _LONGEST_PROPOSAL:
        return "put each name in quotes"
    name = f"as one name: {format_argument(key, quote_for_yaml(text))}"
    items = [item.strip() for item in text[1:-1].split(",") if item.strip()]
    if not items or text[-1] != {"[": "]", "{": "}"}[text[0]]:
        return name
    if text[0] == "[":
        listed = ", ".join(map(_as_item, items))
        return f"as a list: {format_argument(key, f'[{listed}]')}; {name}"
    pairs = [item.rpartition(":") for item in items]
    mixture = ", ".join(f"{_as_item(class_.strip())}: {weight.strip()}" for class_, _, weight in pairs)
    return f"as a mixture: {format_argument(key, f'{{{mixture}}}')}; {name}" if all(pair[0] for pair in pairs) else name


def _as_item(text: str) -> str:
    """An item of a list as YAML: in quotes unless it is in quotes, or a plain word or number."""
    quoted = len(text) > 1 and text[0] == text[-1] in "'\""
    return text if quoted or re.fullmatch(r"[\w.][\w.+-]*", text) else quote_for_yaml(text)


Free = Annotated[Any, AfterValidator(to_plain_values)]
Names = Annotated[Any, AfterValidator(plain_condition_values)]
Text = Annotated[str, BeforeValidator(text_as_written)]
PathField = Annotated[Path, WrapValidator(_path)]
Metrics = Annotated[
    list[Annotated[ComponentSpec, ComponentField("metric")]],
    BeforeValidator(lambda value: [] if value is None else value),
    WithJsonSchema({"type": ["array", "null"], "items": {"$ref": DEFINITIONS + "metric"}}),
]
Loggers = Annotated[
    list[Annotated[ComponentSpec, ComponentField("logger")]],
    BeforeValidator(lambda value: [] if value is None else value if isinstance(value, (list, tuple)) else [value]),
    WithJsonSchema(
        {
            "anyOf": [
                {"$ref": DEFINITIONS + "logger"},
                {"type": ["array", "null"], "items": {"$ref": DEFINITIONS + "logger"}},
            ]
        }
    ),
]
ConditionValues = Annotated[
    dict[str, Names],
    BeforeValidator(lambda value: {} if value is None else value),
    WithJsonSchema({"type": ["object", "null"], "additionalProperties": True}),
]
Conditions = Annotated[
    dict[str, Annotated[ComponentSpec, ComponentField("condition")]],
    BeforeValidator(_without_nulls),
    WithJsonSchema(
        {
            "type": ["object", "null"],
            "additionalProperties": {"anyOf": [{"$ref": DEFINITIONS + "condition"}, NULL]},
        }
    ),
]
