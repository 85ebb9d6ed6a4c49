"""Base class of loggers: what `train.log` sends to other programs, besides metrics.jsonl."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...types import BadInput
from ...util.media_files import MediaFile

EXTRA = "pip install 'sonolux[log]'"


class LoggedRun(NamedTuple):
    """What a logger knows of a run.

    Attributes:
        name: Name of the recipe.
        path: The run folder.
        folder: Where its files are written: the same, or a hidden folder in it until an earlier run is replaced.
        recipe: The recipe with all defaults, YAML.
        settings: The same as plain values.
        step: Optimizer steps made before.
    """

    name: str
    path: Path
    folder: Path
    recipe: str
    settings: dict[str, Any]
    step: int


class LoggedPreview(NamedTuple):
    """One example of a preview: the files that show it, and its caption."""

    files: Sequence[MediaFile]
    caption: str


class Logger(ABC):
    """Receives the log of a run. Errors of a logger are reported and do not end the training."""

    @abstractmethod
    def check(self) -> None:
        """Called before anything is written.

        Raises:
            BadInput: The logger cannot work, for example because its package is not installed.
        """

    @abstractmethod
    def start(self, run: LoggedRun) -> None:
        """Called before the first step, also of a resumed run."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Called after a line of metrics.jsonl was written.

        Args:
            step: The step of the line.
            values: Its numbers; names of nested ones are joined with a slash, "held_out/loss".
        """

    @abstractmethod
    def show(self, step: int, previews: Sequence[LoggedPreview]) -> None:
        """Called after a preview was made."""

    @abstractmethod
    def close(self) -> None:
        """Called at the end of the training, also of one that was interrupted or has failed."""

    def move(self, folder: Path) -> None:  # noqa: B027  # most loggers need not do anything
        """Called when `LoggedRun.folder` has changed; nothing, unless a logger writes to it."""


def import_logger_package(name: str) -> Any:
    """The module of a package that a logger needs.

    Raises:
        BadInput: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise BadInput(f"train.log names {package}, which cannot be imported ({error}): {EXTRA}") from error


def flatten_numbers(row: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a line of the log: nested names are joined with a slash, positions in lists are names.

    None (no value), texts and truth values are left out, and so is the step.
    """
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, (list, tuple)):
            value = {str(i): one for i, one in enumerate(value)}
        if isinstance(value, Mapping):
            found |= flatten_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and f"{prefix}{name}" != "step":
            found[f"{prefix}{name}"] = float(value)
    return found
