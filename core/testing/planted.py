"""Planted errors: a component that is rebuilt from its source file with one piece of text changed.

A numeric test that cannot fail proves nothing. `plant` creates the fault; the test runs the check that guards the
component, and asserts that it fails.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType

from .mutation import announce


def plant(component: type, old: str, new: str, helper: ModuleType | None = None) -> type:
    """The class `component` from its source with `old` replaced by `new`; `old` must occur exactly once.

    Args:
        component: The class.
        old: Text to replace.
        new: Replacement.
        helper: The module that contains `old`, if it is not the component's module but one that it imports.

    Raises:
        ValueError: `old` does not occur exactly once, so the fault was not planted.
    """
    module = sys.modules[component.__module__]
    faulty = _changed(helper or module, old, new)
    if helper is None:
        return getattr(faulty, component.__name__)
    sys.modules[helper.__name__] = faulty
    try:
        return getattr(_changed(module, "", ""), component.__name__)
    finally:
        sys.modules[helper.__name__] = helper


def _changed(module: ModuleType, old: str, new: str) -> ModuleType:
    source = inspect.getsource(module)
    if old and source.count(old) != 1:
        raise ValueError(f"{old!r} occurs {source.count(old)} times in {module.__name__}, not once")
    if old:
        announce(f"{module.__name__}: {' '.join(old.split())}  ->  {' '.join(new.split()) or '(nothing)'}")
    changed = ModuleType(module.__name__)
    changed.__package__, changed.__file__ = module.__package__, module.__file__
    original = sys.modules[module.__name__]
    sys.modules[module.__name__] = changed  # dataclasses look up their module
    try:
        exec(
            compile(source.replace(old, new) if old else source, f"{module.__file__} (planted)", "exec"), vars(changed)
        )
    finally:
        sys.modules[module.__name__] = original
    return changed
