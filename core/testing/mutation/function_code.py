"""The code of functions: compiled again from a changed syntax tree, with the same free variables."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import textwrap
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .listeners import notify_listeners
from .mutations import Mutation

_CHANGED: dict[types.FunctionType, ast.FunctionDef] = {}
"""Functions that are changed at the moment, with their current tree."""


@contextmanager
def changed_function(original: Any, mutations: Sequence[Mutation]) -> Iterator[None]:
    """Within the block, the code of a function, method or property has the mutations."""
    outer = plain_function(original)
    function = inspect.unwrap(outer)
    before, tree = function.__code__, _CHANGED.get(function)
    code, description, changed = changed_code(function, mutations)
    notify_listeners(f"{qualified_name(function)}: {description}")
    function.__code__, _CHANGED[function] = code, changed
    _forget(outer)
    try:
        yield
    finally:
        function.__code__ = before
        _CHANGED.pop(function)
        if tree is not None:
            _CHANGED[function] = tree
        _forget(outer)


def changed_code(
    function: types.FunctionType, mutations: Sequence[Mutation]
) -> tuple[types.CodeType, str, ast.FunctionDef]:
    """The code of a function with mutations, what they changed as text, and the changed tree."""
    tree = copy.deepcopy(_CHANGED[function]) if function in _CHANGED else _tree(function)
    for node in ast.walk(tree):
        node._is_module = (  # type: ignore[attr-defined]
            isinstance(node, ast.Name) and isinstance(function.__globals__.get(node.id), types.ModuleType)
        )
    description = "; ".join([m.apply(tree) for m in mutations])
    return _compiled(function, tree), " ".join(description.split()), tree


def _tree(function: types.FunctionType) -> ast.FunctionDef:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        made = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise ValueError(f"{qualified_name(function)} has no source of its own: plant a replacement instead") from error
    if not isinstance(made, ast.FunctionDef):
        raise ValueError(f"{qualified_name(function)} is not a function with a name: plant a replacement instead")
    ast.increment_lineno(made, function.__code__.co_firstlineno - 1)
    return made


def _compiled(function: types.FunctionType, tree: ast.FunctionDef) -> types.CodeType:
    """The function's code from a changed tree, with the same free variables in the same order."""
    inner = copy.deepcopy(tree)
    inner.decorator_list, inner.returns = [], None
    for arg in [*inner.args.posonlyargs, *inner.args.args, *inner.args.kwonlyargs, inner.args.vararg, inner.args.kwarg]:
        if arg is not None:
            arg.annotation = None
    free = function.__code__.co_freevars
    keep = ast.parse("if 0:\n    " + (", ".join(free) or "pass")).body[0]
    inner.body.append(keep)  # a free variable that the mutation removes keeps its cell
    owner = function.__qualname__.rsplit(".", 2)
    body: list[ast.stmt] = [inner]
    if len(owner) > 1 and owner[-2] != "<locals>":  # names with two underscores are mangled by the class
        original = ast.parse(f"class {owner[-2]}: pass").body[0]
        original.body = body  # type: ignore[attr-defined]
        body = [original] if owner[-2] in free else [ast.Global([owner[-2]]), original]
    around = ast.parse(f"def around({', '.join(free)}):\n    pass").body[0]
    around.body = body  # type: ignore[attr-defined]
    module = ast.fix_missing_locations(ast.Module([around], []))
    flags = function.__code__.co_flags & 0x1000000  # from __future__ import annotations
    code = compile(module, function.__code__.co_filename, "exec", flags, dont_inherit=True)
    found = _inside(code, function.__name__, around is not None)
    if found.co_freevars != free:
        where = qualified_name(function)
        raise ValueError(f"{where}: the mutation changes the free variables {free} to {found.co_freevars}")
    return found.replace(co_qualname=function.__code__.co_qualname) if hasattr(found, "co_qualname") else found


def _inside(code: types.CodeType, matches: str, first: bool) -> types.CodeType:
    for piece in code.co_consts:
        if isinstance(piece, types.CodeType):
            if piece.co_name == matches and not (first and matches == "around"):
                return piece
            try:
                return _inside(piece, matches, False)
            except LookupError:
                continue
    raise LookupError(matches)


def plain_function(original: Any) -> Any:
    """The function of a method, property or cached property; raises ValueError for what is not one of Python source."""
    if isinstance(original, (staticmethod, classmethod)):
        original = original.__func__
    if isinstance(original, property):
        original = original.fget
    if isinstance(original, functools.cached_property):
        original = original.func
    if isinstance(original, types.MethodType):
        original = original.__func__
    if not isinstance(inspect.unwrap(original) if callable(original) else original, types.FunctionType):
        raise ValueError(f"{original!r} is not a function of Python source: plant a replacement instead")
    return original


def _forget(function: Any) -> None:
    """Clear the caches of functools between the attribute and the function."""
    while function is not None:
        if hasattr(function, "cache_clear"):
            function.cache_clear()
        function = getattr(function, "__wrapped__", None)


def qualified_name(function: Any) -> str:
    """The module and name of a function."""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
