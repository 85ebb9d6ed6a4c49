"""Progress of work that takes longer than two seconds: a bar on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from .messages import escape_control_characters, print_lines

T = TypeVar("T")
EVERY = 10.0  # seconds between the lines of a log


class LineProgress:
    """Progress without a terminal: prints a line every `EVERY` seconds, and nothing for shorter work.

    Args:
        about: Description of the work, at the start of a line.
        unit: Name of one counted thing.
        total: Number of things; None: unknown.
        done: Number that was done before.
        even: Whether each thing takes about as long, so that there are a rate and a remaining time.
    """

    def __init__(self, about: str, unit: str, total: int | None = None, done: int = 0, even: bool = True):
        self.about, self.unit, self.total, self.n, self.first, self.even = about, unit, total, done, done, even
        self.note, self.began = "", time.monotonic()
        self._printed = self.began

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Count `n` more as done."""
        self.n += n
        self._print_if_due()

    def set_description_str(self, about: str) -> None:
        """Set the description of the work."""
        self.about = about
        self._print_if_due()

    def set_postfix_str(self, note: str) -> None:
        """Set the text at the end of a line."""
        self.note = note

    def close(self) -> None:
        """End the progress; prints nothing."""

    def _print_if_due(self) -> None:
        now = time.monotonic()
        if now - self._printed >= EVERY:
            self._printed = now
            print_lines(self._line(now - self.began), err=True)

    def _line(self, seconds: float) -> str:
        of = "" if self.total is None else f" of {self.total}"
        rate = (self.n - self.first) / max(seconds, 1e-9)
        parts = (
            [f"{self.unit} {self.n}{of}", f"{rate:.3g} a second"] if self.even else [f"{self.n}{of} {self.unit}s done"]
        )
        if self.even and self.total is not None and rate > 0:
            parts.append(f"{tqdm.format_interval(max(0, self.total - self.n) / rate)} left")
        note = [self.note] if self.note else []
        return (f"{self.about}: " if self.about else "") + ", ".join(parts + note)


class EscapedTexts:
    """Texts of a bar as `escape_control_characters` shows them; stands before the class of the bar."""

    def set_description_str(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Set the description of the work."""
        super().set_description_str(escape_control_characters(desc or ""), refresh)  # type: ignore[misc]

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Set the text at the end of the bar."""
        super().set_postfix_str(escape_control_characters(s), refresh)  # type: ignore[misc]


class TerminalBar(EscapedTexts, tqdm):
    """tqdm's bar of characters."""


def is_notebook() -> bool:
    """Whether this process computes the cells of a notebook, whose output shows bars though it is no terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def notebook_bar() -> type[tqdm]:
    """tqdm's bar for notebooks if the package ipywidgets, which draws it, is installed; else the bar of characters."""
    if importlib.util.find_spec("ipywidgets") is None:
        return TerminalBar
    notebook = importlib.import_module("tqdm.notebook")
    return type("NotebookBar", (EscapedTexts, notebook.tqdm), {})


def progress_bar(
    about: str,
    unit: str,
    total: int | None = None,
    *,
    done: int = 0,
    show: bool = True,
    delay: float = 2.0,
    leave: bool = False,
    even: bool = True,
) -> TerminalBar | LineProgress:
    """A progress counter: on a terminal or in a notebook a bar with rate and remaining time, otherwise `LineProgress`.

    Args:
        about: Description of the work.
        unit: Name of one counted thing.
        total: Number of things; None: unknown.
        done: Number that was done before.
        show: Whether to show anything.
        delay: Seconds before a bar is drawn.
        leave: Whether the bar stays visible at the end.
        even: Whether each thing takes about as long; otherwise no rate and no remaining time are shown.
    """
    notebook = is_notebook()
    if show and not notebook and not sys.stderr.isatty():
        return LineProgress(about, unit, total, done, even)
    options = {"disable": not show, "delay": delay, "leave": leave, "mininterval": 0.5}
    if not even:
        options["bar_format"] = "{desc}: {n_fmt} of {total_fmt} {unit}s done [{elapsed}]"
    bar = notebook_bar() if notebook else TerminalBar
    return bar(
        total=total,
        initial=done,
        desc=escape_control_characters(about) or None,
        unit=escape_control_characters(unit),
        **options,
    )


def with_progress(items: Iterable[T], about: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` with a progress counter."""
    with progress_bar(about, unit, total) as counted:
        for item in items:
            yield item
            counted.update()
