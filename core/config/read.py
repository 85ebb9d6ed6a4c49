"""Tree with positions -> typed values, directed by annotations. Every problem is collected; none stops the reading."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from ..util import messages
from . import registry
from .nodes import Mark, Node, Problem
from .signature import LISTS, MAPPINGS, REQUIRED, Parameter, is_union, kind_of, parameters, type_name, writable
from .spec import Range, Spec, plain

BAD: Any = object()  # stands for a value that could not be read; its problem is on the list

# Kinds that hold weights or read files. The others cost nothing to construct and are tried at once, so that a value
# that the constructor refuses is told with its line.
COSTLY = {"dataset", "codec", "network", "condition", "feature", "metric"}


@dataclass
class Reader:
    """Reads one recipe.

    problems:   what is wrong so far
    allow_code: whether `use` may name code
    partial:    accept null where the user has yet to fill something in (`data.root: null`)
    built:      path -> object, for the cheap components
    """

    problems: list[Problem] = field(default_factory=list)
    allow_code: bool = True
    partial: bool = False
    built: dict[str, Any] = field(default_factory=dict)

    def problem(self, mark: Mark, path: str, message: str) -> Any:
        """Note a problem and return BAD."""
        found = Problem(mark, path, message)
        if str(found) not in map(str, self.problems):
            self.problems.append(found)
        return BAD

    # --- values ---

    def value(self, node: Node, annotation: Any, path: str, default: Any = REQUIRED) -> Any:
        """The node as a value of the type; BAD where it is none."""
        kind = kind_of(annotation)
        if kind:
            return self.component(node, kind, path, default)
        if is_union(annotation):
            return self._union(node, annotation, path, default)
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is typing.Annotated:
            return self._ranged(node, annotation, path)
        if annotation is Any:
            return node.plain()
        if origin is Literal:
            return self._literal(node, args, path)
        if annotation in LISTS or origin in LISTS:
            return self._list(node, annotation, path)
        if annotation in MAPPINGS or origin in MAPPINGS:
            return self._mapping(node, annotation, path)
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            return self.section(node, annotation, path)
        return self._scalar(node, annotation, path)

    def _expected(self, node: Node, annotation: Any, path: str) -> Any:
        return self.problem(node.mark, path, f"expected {type_name(annotation)}, got {node.shown()}")

    def _scalar(self, node: Node, annotation: Any, path: str) -> Any:
        value = node.value
        if annotation is Path and isinstance(value, str):
            return Path(os.path.abspath(node.mark.base / Path(value).expanduser()))
        if annotation is float and type(value) is int:
            return float(value)
        if annotation is float and isinstance(value, float) and math.isnan(value):
            return self.problem(node.mark, path, "expected number, got .nan")
        if annotation is type(None):
            return None if value is None else self._expected(node, annotation, path)
        return value if type(value) is annotation else self._expected(node, annotation, path)

    def _ranged(self, node: Node, annotation: Any, path: str) -> Any:
        inner, *extras = get_args(annotation)
        ranges = [extra for extra in extras if isinstance(extra, Range)]
        if not ranges:
            return self.value(node, inner, path)
        value = Reader().value(node, inner, path)  # a scalar: its message is the one below, which states the range
        held = type(value) in (int, float) and all(r.holds(value) for r in ranges)
        return value if held else self._expected(node, annotation, path)

    def _literal(self, node: Node, allowed: tuple[Any, ...], path: str) -> Any:
        for option in allowed:
            if type(node.value) is type(option) and node.value == option:
                return option
        near = (
            messages.did_you_mean(node.value, [a for a in allowed if isinstance(a, str)])
            if isinstance(node.value, str)
            else ""
        )
        return self.problem(
            node.mark, path, f"expected one of {', '.join(map(str, allowed))}, got {node.shown()}{near}"
        )

    def _union(self, node: Node, annotation: Any, path: str, default: Any) -> Any:
        options = [a for a in get_args(annotation) if a is type(None) or writable(a)]
        if node.value is None and type(None) in options:
            return None
        options = [a for a in options if a is not type(None)]
        if len(options) == 1:
            return self.value(node, options[0], path, default)
        if type(node.value) is int and int in options:
            return node.value
        for option in options:
            trial = Reader(allow_code=self.allow_code, partial=self.partial)
            value = trial.value(node, option, path, default)
            if not trial.problems:
                self.built.update(trial.built)
                return value
        lists = [a for a in options if get_origin(a) in LISTS and any(map(kind_of, get_args(a)))]
        if lists and isinstance(node.value, list):
            return self.value(node, lists[0], path, default)  # for its messages
        components = [a for a in options if kind_of(a)]
        if components and (node.is_map or isinstance(node.value, str)):
            return self.value(node, components[0], path, default)  # for its messages
        return self._expected(node, annotation, path)

    def _list(self, node: Node, annotation: Any, path: str) -> Any:
        if not isinstance(node.value, list):
            return self._expected(node, annotation, path)
        args, is_tuple = get_args(annotation), annotation is tuple or get_origin(annotation) is tuple
        if is_tuple and args and Ellipsis not in args:
            if len(args) != len(node.value):
                return self._expected(node, annotation, path)
            types = list(args)
        else:
            types = [args[0] if args else Any] * len(node.value)
        values = [self.value(n, t, f"{path}[{i}]") for i, (n, t) in enumerate(zip(node.value, types, strict=True))]
        if any(v is BAD for v in values):
            return BAD
        return tuple(values) if is_tuple else values

    def _mapping(self, node: Node, annotation: Any, path: str) -> Any:
        if node.value is None:  # a heading with nothing under it
            return {}
        if not node.is_map:
            return self._expected(node, annotation, path)
        args = get_args(annotation)
        inner = args[1] if args else Any
        values: dict[Any, Any] = {}
        for name, child in node.value.items():
            if kind_of(inner) and child.value is None:
                continue  # `condition: {label: null}` removes a parent's condition
            key = self._key(name, args[0] if args else Any, child, path)
            values[key] = self.value(child, inner, f"{path}.{name}")
        return BAD if any(v is BAD for v in (*values, *values.values())) else values

    def _key(self, name: str, annotation: Any, child: Node, path: str) -> Any:
        if annotation is int:
            return (
                int(name)
                if re.fullmatch(r"-?\d+", name)
                else self.problem(child.key or child.mark, path, f"the key {name!r} is no integer")
            )
        return name

    # --- sections ---

    def section(self, node: Node, cls: type, path: str) -> Any:
        """The node as an instance of a dataclass."""
        if node.value is None:
            node = Node({}, node.mark, node.key)
        if not node.is_map or node.use is not None:  # a name or number that a mapping was merged over
            return self._expected(node.use or node, cls, path)
        hints = typing.get_type_hints(cls, include_extras=True)
        known = {f.name: f for f in dataclasses.fields(cls) if f.init}
        values: dict[str, Any] = {}
        for name, f in known.items():
            inner = f"{path}.{name}" if path else name
            default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
            if name in node.value:
                values[name] = self.value(node.value[name], hints[name], inner, default)
            elif default is dataclasses.MISSING:
                values[name] = self.problem(node.mark, inner, f"is missing: give {type_name(hints[name])}")
            elif isinstance(default, Spec):
                values[name] = self.component(Node({}, node.mark), default.kind, inner, default)
            else:
                values[name] = default
        for name, child in node.value.items():
            if name not in known:
                self.unknown(child, path, name, list(known), path or "a recipe", values)
        if any(v is BAD for v in values.values()):
            return BAD
        return cls(**values)

    def unknown(
        self, node: Node, path: str, name: str, known: list[str], owner: str, beside: dict[str, Any] | None = None
    ) -> Any:
        """Report a key that nothing accepts, with the nearest one, or the component beside it that has such a key."""
        mark = node.key or node.mark
        prefix = f"{path}." if path else ""
        near = messages.nearest(name, known)
        if not near:
            inside = {k: v for k, v in (beside or {}).items() if isinstance(v, Spec) and name in v.params}
            near = [f"{k}.{name}" for k in inside]
        hint = (
            f"; did you mean {' or '.join(repr((prefix if mark.override else '') + n) for n in near)}?" if near else ""
        )
        listed = "" if near else f"; {owner} accepts: {', '.join(known) or 'nothing'}"
        return self.problem(mark, f"{prefix}{name}", f"unknown key{hint}{listed}")

    # --- components ---

    def component(
        self, node: Node, kind: str, path: str, default: Any = REQUIRED, beside: list[str] | None = None
    ) -> Any:
        """The node as a Spec: a bare name, or a mapping with `use:` and parameters, each of its constructor's type.

        default: the Spec, or its name, whose `use` counts where the mapping has none
        beside:  keys that the same mapping holds for its section, to be suggested too
        """
        use, given = self._use(node, kind, path, default)
        if use is BAD:
            return BAD
        try:
            asked = bool(use.mark.override)  # what is named in a command is the user's own wish
            cls = registry.find(kind, use.value, use.mark.base, self.allow_code or asked)
        except Exception as error:
            if type(error).__name__ != "BadInput":
                raise
            return self.problem(use.mark, f"{path}.use" if use is not node else path, str(error))
        known = {n: p for n, p in parameters(cls, kind).items() if not p.hidden}
        spec = Spec(kind, registry.code_path(use.value, use.mark.base), where=f"{_place(node)}: {path}")
        for name, parameter in known.items():
            spec.params[name] = self._parameter(given.get(name), parameter, node, f"{path}.{name}")
        hidden = {n for n, p in parameters(cls, kind).items() if p.hidden}
        for name, child in given.items():
            if name in hidden:
                self.problem(child.key or child.mark, f"{path}.{name}", "sonolux sets this itself; leave it out")
            elif name not in known:
                self.unknown(child, path, name, [*known, *(beside or [])], use.value, spec.params)
        spec.params = {n: v for n, v in spec.params.items() if v is not REQUIRED}
        if any(v is BAD for v in spec.params.values()):
            return BAD
        return self._tried(spec, cls, node, path)

    def _use(self, node: Node, kind: str, path: str, default: Any) -> tuple[Any, dict[str, Node]]:
        if isinstance(node.value, str):
            return node, {}
        if not node.is_map:
            return self.problem(
                node.mark, path, f"expected {kind}: a name, or a mapping with `use:`, got {node.shown()}"
            ), {}
        given = {k: v for k, v in node.value.items() if k != "use"}
        use = node.value.get("use", node.use)
        if use is None and isinstance(default, (Spec, str)):
            use = Node(default if isinstance(default, str) else default.use, node.mark)
            if isinstance(default, Spec):
                given = {**{k: Node.of(plain(v), node.mark) for k, v in default.params.items()}, **given}
        if use is None:
            return self.problem(node.mark, path, f"needs `use:`, one of {', '.join(registry.names(kind))}"), given
        if not isinstance(use.value, str):
            return self.problem(use.mark, f"{path}.use", f"expected the name of a {kind}, got {use.shown()}"), given
        return use, given

    def _parameter(self, child: Node | None, parameter: Parameter, owner: Node, path: str) -> Any:
        takes_null = parameter.annotation is Any or type(None) in get_args(parameter.annotation)
        if child is not None and not (child.value is None and parameter.default is REQUIRED and not takes_null):
            return self.value(child, parameter.annotation, path, parameter.default)
        if parameter.default is REQUIRED:
            if self.partial:
                return None
            what = type_name(parameter.annotation)
            doc = f" ({parameter.doc})" if parameter.doc else ""
            example = f"{path}={'path/to/folder' if what == 'path' else '...'}"
            return self.problem((child or owner).mark, path, f"needs {path}: {what}{doc}; for example {example}")
        # A default is read like a written value, so that a recipe and its resolved text hold the same.
        trial = Reader(allow_code=self.allow_code, partial=self.partial)
        value = trial.value(
            Node.of(plain(parameter.default), owner.mark), parameter.annotation, path, parameter.default
        )
        return parameter.default if trial.problems else value

    def _tried(self, spec: Spec, cls: type, node: Node, path: str) -> Any:
        hidden = [p for p in parameters(cls, spec.kind).values() if p.hidden and p.default is REQUIRED]
        if spec.kind in COSTLY or hidden or (self.partial and None in spec.params.values()):
            return spec
        from ..util.errors import BadInput

        try:
            self.built[path] = dataclasses.replace(spec, where="").build()
        except (BadInput, ValueError) as error:
            return self.problem(_place(node), path, str(error))
        return spec


def _place(node: Node) -> Mark:
    """Where a component stands: what the command line changes of it counts before its place in the file."""
    inside = node.value.values() if isinstance(node.value, dict) else ()
    return next((child.mark for child in inside if child.mark.override), node.key or node.mark)
