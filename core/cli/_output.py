"""Standard output and error of a command, for the case that nothing reads them any longer (`| head`)."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, TextIO

from ..util.interrupts import discard_output


class OutputClosed(Exception):
    """Nothing reads the standard output of a command any longer."""


class ClosableStream:
    """A text stream whose reader may end first.

    Args:
        stream: The stream.
        lasting: Discard further text then; otherwise OutputClosed is raised, once.
    """

    def __init__(self, stream: TextIO, lasting: bool):
        self._stream, self.lasting = stream, lasting

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        with suppress(OSError, ValueError):
            discard_output(self._stream.fileno())
        if self.lasting:
            return
        if isinstance(error, BrokenPipeError):
            raise OutputClosed from error
        raise error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install_streams() -> None:
    """Replace the streams of this process: a command ends when nothing reads its output, but not for its messages."""
    sys.stdout, sys.stderr = ClosableStream(sys.stdout, lasting=False), ClosableStream(sys.stderr, lasting=True)


def ignore_closed_output() -> None:
    """Go on when nothing reads the output any longer: the work of this command is worth more than its messages."""
    if isinstance(sys.stdout, ClosableStream):
        sys.stdout.lasting = True
