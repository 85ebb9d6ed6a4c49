"""Planted errors: a component made anew from its own file with one piece of text changed.

A numeric test that cannot fail proves nothing. `plant` makes the fault, the test runs the very check that guards the
component, and asserts that it fails.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType

from .mutation import announce


def plant(component: type, old: str, new: str, helper: ModuleType | None = None) -> type:
    """The class `component` from its source with `old` replaced by `new`, which must occur exactly once.

    Args:
        helper: The module that holds `old`, if it is not the component's own but one that it imports.

    Raises:
        ValueError: If `old` does not occur exactly once: the fault was not planted.
    """
    own = sys.modules[component.__module__]
    faulty = _changed(helper or own, old, new)
    if helper is None:
        return getattr(faulty, component.__name__)
    sys.modules[helper.__name__] = faulty
    try:
        return getattr(_changed(own, "", ""), component.__name__)
    finally:
        sys.modules[helper.__name__] = helper


def _changed(module: ModuleType, old: str, new: str) -> ModuleType:
    source = inspect.getsource(module)
    if old and source.count(old) != 1:
        raise ValueError(f"{old!r} occurs {source.count(old)} times in {module.__name__}, not once")
    if old:
        announce(f"{module.__name__}: {' '.join(old.split())}  ->  {' '.join(new.split()) or '(nothing)'}")
    made = ModuleType(module.__name__)
    made.__package__, made.__file__ = module.__package__, module.__file__
    held = sys.modules[module.__name__]
    sys.modules[module.__name__] = made  # dataclasses look their own module up
    try:
        exec(compile(source.replace(old, new) if old else source, f"{module.__file__} (planted)", "exec"), vars(made))
    finally:
        sys.modules[module.__name__] = held
    return made
