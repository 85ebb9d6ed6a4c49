"""`assert_caught`: a check must notice an error by an assertion of its own."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def assert_caught(
    check: Callable, *args: Any, also: type[Exception] | tuple[type[Exception], ...] = (), **options: Any
) -> str:
    """Run a check on something faulty and require that it fails by an assertion of its own.

    An AssertionError raised by the code under test does not count, because the check itself noticed nothing.

    Args:
        check: The function that asserts.
        *args: Its arguments.
        also: Exceptions of the code under test that also count (a RuntimeError for shapes that do not fit).
        **options: Its keyword arguments.

    Returns:
        The message of the assertion.

    Raises:
        AssertionError: The check passes, or the failing assertion is not the check's.
    """
    try:
        check(*args, **options)
    except AssertionError as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if _asserting(f.filename)]
        own = inspect.unwrap(getattr(check, "__func__", check)).__globals__.get("__file__", __file__)
        if frames and frames[-1].filename not in (own, *_kit()):
            raise AssertionError(f"{frames[-1].filename} failed before the check could: {error}") from error
        return str(error)
    except also as error:
        return str(error)
    raise AssertionError(f"{getattr(check, '__qualname__', check)} passes: the planted error is not noticed")


def _asserting(file: str) -> bool:
    """Whether a frame belongs to this project or its tests, not to a library's comparison functions."""
    return "site-packages" not in file and not file.startswith((sys.base_prefix, "<"))


def _kit() -> list[str]:
    return [str(p) for p in Path(__file__).parents[1].rglob("*.py")]
