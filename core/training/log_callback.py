"""Gives the log and the previews of a run to the loggers that `train.log` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..config.recipe import Recipe
from ..util.media_files import preview_files
from .callbacks import Callback, RunState
from .loggers.base import LoggedPreview, LoggedRun, Logger, flatten_numbers

MOST_PREVIEWS = 16  # examples of a preview that loggers receive


class LoggerCallback(Callback):
    """Calls the loggers of a recipe. One that fails is reported once, and is not called again; the training goes on.

    Args:
        recipe: The recipe of the run.
    """

    def __init__(self, recipe: Recipe):
        self.loggers: list[Logger] = [component.build() for component in recipe.train.log]
        self._place: Any = None

    def check(self, run: RunState) -> None:
        """Raise BadInput if a logger cannot work."""
        for logger in self.loggers:
            logger.check()

    def on_start(self, run: RunState) -> None:
        self._place = run.folder.place
        recipe = run.recipe
        logged = LoggedRun(recipe.name, run.folder.path, self._place, recipe.dump(), recipe.resolved(), run.step)
        self._call(run, lambda logger: logger.start(logged))

    def on_log(self, run: RunState, row: Mapping[str, Any]) -> None:
        values = flatten_numbers(row)
        self._call(run, lambda logger: logger.log(int(row["step"]), values))

    def on_preview(self, run: RunState, media: Sequence[Tensor], captions: Sequence[str]) -> None:
        if not self.loggers:
            return
        some = zip(media[:MOST_PREVIEWS], captions[:MOST_PREVIEWS], strict=True)
        previews = [LoggedPreview(preview_files(run.parts.modality, one), caption) for one, caption in some]
        self._call(run, lambda logger: logger.show(run.step, previews))

    def close(self, run: RunState) -> None:
        self._call(run, lambda logger: logger.close())

    def _call(self, run: RunState, act: Callable[[Logger], None]) -> None:
        """Call every logger, after it was given a new place of the run folder."""
        moved, self._place = run.folder.place != self._place, run.folder.place
        for logger in list(self.loggers):
            try:
                if moved:
                    logger.move(self._place)
                act(logger)
            except Exception as error:  # of another package: its log is worth less than the training
                self.loggers.remove(logger)
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                run.say(f"train.log: {type(logger).__name__} has failed ({reason}): the training goes on without it")
