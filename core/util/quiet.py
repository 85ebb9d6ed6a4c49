"""Silence for libraries in C that write to the terminal."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ONE = threading.RLock()  # the file descriptor belongs to the whole process


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard what is written to the file descriptor of stderr meanwhile."""
    with _ONE:
        try:
            kept = os.dup(2)
        except OSError:  # there is no stderr
            yield
            return
        try:
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
