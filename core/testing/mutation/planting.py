"""Errors in functions, classes and attributes: for a while, or in a copy."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .function_code import changed_code, changed_function, plain_function, qualified_name
from .listeners import notify_listeners
from .mutations import Mutation


def mutated_function(function: Callable, *mutations: Mutation) -> Callable:
    """A copy of a function with mutations applied: same globals, closure, defaults and attributes, without decorators.

    Raises:
        ValueError: A mutation changes nothing, or the function has no source.
    """
    plain = inspect.unwrap(plain_function(function))
    code, description = changed_code(plain, mutations)[:2]
    made = types.FunctionType(code, plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__)
    functools.update_wrapper(made, plain)
    vars(made).pop("__wrapped__")
    made.__kwdefaults__ = plain.__kwdefaults__
    notify_listeners(f"{qualified_name(plain)}: {description}")
    return made


def mutated_class(cls: type, method: str, *mutations: Mutation, **attributes: Any) -> type:
    """A subclass of the same name whose method has the mutations, and whose class attributes are `attributes`.

    A property, static method or class method keeps its type. An inherited method is changed for this subclass only.
    """
    original = inspect.getattr_static(cls, method)
    made = mutated_function(original, *mutations)
    if isinstance(original, (staticmethod, classmethod)):
        made = type(original)(made)
    elif isinstance(original, property):
        made = property(made, original.fset, original.fdel)
    elif isinstance(original, functools.cached_property):
        made = functools.cached_property(made)
        made.__set_name__(cls, method)
    body = {"__module__": cls.__module__, "__doc__": cls.__doc__, "__qualname__": cls.__qualname__}
    return type(cls)(cls.__name__, (cls,), {**body, method: made, **attributes})


@contextmanager
def planted_error(owner: Any, attribute: str, *errors: Any) -> Iterator[None]:
    """Within the block, `owner.attribute` contains an error.

    With mutations, the function's code is changed in place: also for modules that imported it by name, and, if a class
    has inherited the method, for the class that defines it. Decorators stay (caches of functools are cleared). With one
    other value, the attribute is set; a function or class of a module is also set in the package's modules that
    imported it.

    Args:
        owner: A class, module or instance.
        attribute: The name of the function, method or value.
        *errors: Mutations, applied in order, or the one value that replaces the attribute.

    Raises:
        ValueError: A mutation changes nothing, or the new value equals the old one.
        AttributeError: The owner has no such attribute.
    """
    original = inspect.getattr_static(owner, attribute)
    changing = bool(errors) and all(isinstance(e, Mutation) for e in errors)
    if not changing and len(errors) != 1:
        raise ValueError(f"{attribute}: give mutations, or one value that replaces it")
    with changed_function(original, errors) if changing else _replaced(owner, attribute, original, errors[0]):
        yield


@contextmanager
def _replaced(owner: Any, attribute: str, original: Any, new: Any) -> Iterator[None]:
    if new is original or (
        type(new) is type(original) and isinstance(new, (int, float, str, tuple)) and new == original
    ):
        raise ValueError(f"{attribute} is {new!r} already: nothing is planted")
    owners = [owner]
    if isinstance(owner, types.ModuleType) and isinstance(original, (types.FunctionType, type)):
        root = owner.__name__.split(".")[0]
        others = [m for key, m in list(sys.modules.items()) if key.split(".")[0] == root and m is not owner]
        owners += [m for m in others if getattr(m, "__dict__", {}).get(attribute) is original]
    notify_listeners(
        f"{getattr(owner, '__name__', type(owner).__name__)}.{attribute}: {_short(original)}  ->  {_short(new)}"
    )
    own = [attribute in vars(o) for o in owners]
    for o in owners:
        setattr(o, attribute, new)
    try:
        yield
    finally:
        for o, had in zip(owners, own, strict=True):
            if had:
                setattr(o, attribute, original)
            else:
                delattr(o, attribute)


def _short(value: Any) -> str:
    text = getattr(value, "__qualname__", None) or " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
