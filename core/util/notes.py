"""Notes for the user: what differs from the request, what is left out, what is read instead.

A note is a warning (NoteWarning, a UserWarning) unless its caller collects notes. Python's own
`warnings.catch_warnings` changes the whole process: a list that it records receives the warnings of every thread, and
two threads that leave it in the order in which they entered leave its filters behind for good. What is collected here
is kept in a context variable, so that a thread collects its own notes only.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class NoteWarning(UserWarning):
    """A note of sonolux, unlike the warnings of other libraries."""


class Note(NamedTuple):
    """A note, and the place in the code that it is about.

    Attributes:
        text: The sentence.
        file: The file of the place.
        line: The line in this file.
    """

    text: str
    file: str
    line: int


_collected: ContextVar[list[Note] | None] = ContextVar("collected_notes", default=None)


def issue_note(text: str, stacklevel: int = 1) -> None:
    """Give the user a note.

    Args:
        text: The sentence.
        stacklevel: As in `warnings.warn`: 1 is the place of the call, 2 that of the caller's call.
    """
    collected = _collected.get()
    if collected is None:
        warnings.warn(text, NoteWarning, stacklevel=stacklevel + 1)
        return
    frame = sys._getframe(1)
    for _ in range(stacklevel - 1):
        frame = frame.f_back or frame
    collected.append(Note(text, frame.f_code.co_filename, frame.f_lineno))


@contextmanager
def collect_notes() -> Iterator[list[Note]]:
    """Collect the notes of this thread in a list instead of issuing them."""
    found: list[Note] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


@contextmanager
def hold_notes() -> Iterator[list[Note]]:
    """Hold the notes of this thread back until the end, and drop them if an exception occurs.

    What the caller removes from the list is not issued.
    """
    with collect_notes() as held:
        yield held
    collected = _collected.get()
    if collected is not None:
        collected += held
        return
    for note in held:
        warnings.warn_explicit(note.text, NoteWarning, note.file, note.line)


_IGNORING = threading.Lock()  # held while the two variables below change
_ignoring = 0  # contexts of `ignore_library_warnings` that are open, in all threads
_filters = warnings.catch_warnings()


@contextmanager
def ignore_library_warnings() -> Iterator[None]:
    """Ignore the warnings of other libraries, but no notes, in all threads until the last one leaves this context."""
    global _ignoring, _filters
    with _IGNORING:
        if not _ignoring:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", NoteWarning)
        _ignoring += 1
    try:
        yield
    finally:
        with _IGNORING:
            _ignoring -= 1
            if not _ignoring:
                _filters.__exit__(None, None, None)
