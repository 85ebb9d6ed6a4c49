"""What a mutation changes: calls, attributes, variables, constants, conditions and arguments."""

from __future__ import annotations

import ast
from typing import Any

from .syntax import called_name

Target = Any  # an operator class of `ast`, or a function node -> whether it matches


def call_target(name: str) -> Target:
    """Calls of a function or method of this name: `name(...)` and `anything.name(...)`."""
    return lambda node: isinstance(node, ast.Call) and called_name(node.func) == name


def attribute_target(name: str) -> Target:
    """Reads of an attribute: `anything.name`."""
    return lambda node: isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Load)


def variable_target(name: str) -> Target:
    """Reads of a variable."""
    return lambda node: isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)


def constant_target(value: Any) -> Target:
    """A number, text, True, False or None, of the same type and value."""
    return lambda node: isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value


def condition_target() -> Target:
    """The tests of `if`, `elif`, `while`, `a if test else b` and of comprehensions."""
    return lambda node: getattr(node, "_is_condition", False)


def argument_target(function: str, which: int | str) -> Target:
    """The value of one argument (position, -1 for the last, or keyword) in calls of `function`."""
    return lambda node: (function, which) in getattr(node, "_argument_of", ())
