"""Listeners, which receive the description of every planted error: `pytest --mutants` lists them."""

from __future__ import annotations

from collections.abc import Callable

LISTENERS: list[Callable[[str], None]] = []  # called with the description of every planted error


def notify_listeners(text: str) -> None:
    """Inform every listener about an error that is planted now."""
    for listener in LISTENERS:
        listener(text)
