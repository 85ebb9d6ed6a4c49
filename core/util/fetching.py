"""Whether models may be fetched from a network: a run of others fetches nothing unless the user allows its code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ALLOWED: ContextVar[bool] = ContextVar("fetching_allowed", default=True)


def is_fetching_allowed() -> bool:
    """Whether a component that is built now may fetch a model, if its recipe says so."""
    return _ALLOWED.get()


@contextmanager
def allow_fetching(allowed: bool) -> Iterator[None]:
    """Allow components that are built inside to fetch models, or forbid it.

    Args:
        allowed: Whether they may.
    """
    token = _ALLOWED.set(allowed and _ALLOWED.get())
    try:
        yield
    finally:
        _ALLOWED.reset(token)
