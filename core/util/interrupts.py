"""Signals that ask a command to end: Ctrl-C (SIGINT), SIGTERM, and SIGHUP when its terminal is closed.

One handler serves the whole process. It raises `Interrupted`, or, where work must be completed first (`defer_signals`),
only remembers the signal. A command that has not begun its work (`begin_work`) ends at once, without an exception. This
module loads nothing heavy: a command installs the handler before its imports.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
REPEAT = 0.5
"""Seconds: a signal that follows another one sooner is a repetition of it (a key that is held down)."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the command; the message says what was saved, and may be empty."""


class SignalHandler:
    """Handles SIGNALS from `install` to `restore`; those that the parent process disabled (nohup) stay disabled.

    The first signal raises Interrupted, or only sets `received` inside of `defer_signals`. Ctrl-C once more, after
    REPEAT seconds, is answered with a line, and the next one ends the work at once; all other signals are then ignored.
    Interrupted is not raised inside of an import, since some packages catch every exception there.

    Args:
        ends_process: What "at once" means: the process ends (a command), or Interrupted is raised (a library call).

    Attributes:
        received: Number of the first signal; None before it.
        working: Whether something may have been written; before that a signal ends the process of a command at once.
    """

    def __init__(self, ends_process: bool):
        self.ends_process, self.received, self.depth = ends_process, None, 0
        self.working, self._postponed = not ends_process, False
        self._last, self._warned, self._finished = 0.0, False, False
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Replace the handlers of the process, which only its main thread can do."""
        for number in SIGNALS:
            previous = signal.getsignal(number)
            if previous is not signal.SIG_IGN:
                self._previous[number] = previous or signal.SIG_DFL
                signal.signal(number, self)

    def restore(self) -> None:
        """Restore the previous handlers."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous.clear()

    def finish(self) -> None:
        """State that the command is done: from now on a signal ends the process, without an exception.

        If a signal has ended the command, further ones are ignored, so that the exit code is that of the first.
        """
        self._finished = True
        for number in self._previous if self.received is not None else ():
            signal.signal(number, signal.SIG_IGN)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
        if self._finished:
            os._exit(128 + (self.received or number))
        if not self.working:
            _write(describe_signal(number))
            os._exit(128 + number)
        if self.received is None and self.ends_process and not self.depth and _is_importing(frame):
            return self._postpone(number)
        repeated, self._last = time.monotonic() - self._last < REPEAT, time.monotonic()
        if self.received is None:
            self.received = number
            if not self.depth:
                raise Interrupted
        elif number == signal.SIGINT and not repeated:
            if self._warned:
                self._end_at_once()
            self._warned = True
            _write("\nstopping; Ctrl-C again stops at once, without saving")

    def _postpone(self, number: int) -> None:
        """Send the signal again when the imports of the main thread are done."""

        def send() -> None:
            while _is_importing(sys._current_frames().get(threading.main_thread().ident or 0)):
                time.sleep(0.02)
            self._postponed = False
            signal.raise_signal(number)

        if not self._postponed:
            self._postponed = True
            threading.Thread(target=send, daemon=True).start()

    def _end_at_once(self) -> None:
        message = "stopped at once; what was complete before is unchanged"
        if not self.ends_process:
            raise Interrupted(message)
        _write(f"\n{message}")
        os._exit(128 + (self.received or signal.SIGINT))


_active: SignalHandler | None = None


def install_handler(ends_process: bool = False) -> SignalHandler:
    """Install the handler of a command; in a thread that is not the main one it receives nothing.

    Args:
        ends_process: Whether the process ends with the command.
    """
    global _active
    handler = SignalHandler(ends_process)
    if _active is None and threading.current_thread() is threading.main_thread():
        _active = handler
        _active.install()
    return _active or handler


def begin_work() -> None:
    """State that something will be written: from now on a signal raises Interrupted, so that it can be completed."""
    if _active is not None:
        _active.working = True


def ignore_signals() -> None:
    """Ignore signals from now on: the command is ending already, and says why."""
    if _active is not None and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def uninstall_handler() -> None:
    """Restore the handlers from before `install_handler`."""
    global _active
    if _active is not None:
        _active.restore()
        _active = None


def is_handler_installed() -> bool:
    """Whether a handler is active."""
    return _active is not None


def describe_signal(number: int) -> str:
    """The line with which a command ends."""
    return "interrupted" if number == signal.SIGINT else f"interrupted by {signal.Signals(number).name}"


def received_signal() -> int:
    """Number of the signal that ended the command; SIGINT if KeyboardInterrupt was raised without one."""
    return (_active and _active.received) or signal.SIGINT


@contextmanager
def defer_signals() -> Iterator[SignalHandler]:
    """Complete the block despite signals; `received` of the handler states one.

    A signal raises Interrupted at the end of the outermost block, unless an exception ends it; and at its start, if an
    earlier one was received but its exception was caught somewhere. Outside of the main thread there is no effect.
    """
    global _active
    if threading.current_thread() is not threading.main_thread():
        yield SignalHandler(ends_process=False)
        return
    own = _active is None
    handler = _active = _active or SignalHandler(ends_process=False)
    if handler.received is not None and not handler.depth:
        raise Interrupted
    if own:
        handler.install()
    handler.working = True
    handler.depth += 1
    before = handler.received
    try:
        yield handler
    finally:
        handler.depth -= 1
        if own:
            handler.restore()
            _active = None
    if handler.received is not None and before is None and not handler.depth:
        raise Interrupted


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported where the program is."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _leave_terminal() -> None:
    """Discard further output to a terminal that was closed: writing to it fails."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            if os.isatty(stream.fileno()):
                discard_output(stream.fileno())


def _write(line: str) -> None:
    """Write to standard error from a signal handler, which may have interrupted the writing of another text."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


def discard_output(descriptor: int) -> None:
    """Discard what is written to a file descriptor from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
