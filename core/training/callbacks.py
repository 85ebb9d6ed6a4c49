"""Callbacks of a training run: checkpoints, and those that a caller adds, such as previews."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .checkpoint import Header, NotSaved, save
from .step import StepResult

if TYPE_CHECKING:
    from .run import TrainingRun


class RunFailed(Exception):
    """Training cannot continue; the message says what was saved. The command line exits with 1."""


class Callback(Protocol):
    """Methods that a training run calls. Derive from this class and override what is needed; the others do nothing.

    `run` has the attributes `recipe`, `parts`, `trainer` (model, ema, optimizer), `step`, `budget`, `folder`, `device`
    and `say`.
    """

    def check(self, run: TrainingRun) -> None:
        """Called when the model is built and nothing is written yet; raises BadInput for settings that cannot work."""

    def on_start(self, run: TrainingRun) -> None:
        """Called before the first step, also of a resumed run."""

    def on_step(self, run: TrainingRun, result: StepResult) -> None:
        """Called after a step."""

    def on_save(self, run: TrainingRun, path: Path) -> None:
        """Called after a checkpoint was written."""

    def on_end(self, run: TrainingRun) -> None:
        """Called after the last step and its checkpoint, but not if the run was interrupted or failed."""


class Periodic(Callback):
    """Acts at regular intervals and at the end of the run.

    The log is written first, which ends the run if the weights are no longer finite. The time of an action is not part
    of the logged speed, and a run limited by minutes reserves time for the last action.

    Args:
        every: Steps between actions; None: `times` actions per run.
        times: Number of actions per run, including that at the end, if `every` is None.

    Attributes:
        seconds: Duration of the last action.
    """

    def __init__(self, every: int | None, times: int):
        self.every, self.times, self.seconds = every, times, 0.0
        self._acted_at = -1  # step
        self._reached: int | None = None  # number of `times` that the run has reached

    @abstractmethod
    def act(self, run: TrainingRun) -> None:
        """The action, after step `run.step`."""

    def act_once(self, run: TrainingRun) -> None:
        """Act, unless this was already done after the current step."""
        if self._acted_at == run.step:
            return
        self._acted_at = run.step
        run.log.write()
        began = time.monotonic()
        self.act(run)
        self.seconds = time.monotonic() - began
        run.pause(self.seconds)

    def on_start(self, run: TrainingRun) -> None:
        self._acted_at, self._reached = -1, None

    def on_step(self, run: TrainingRun, result: StepResult) -> None:
        if self._due(run):
            self.act_once(run)

    def on_end(self, run: TrainingRun) -> None:
        self.act_once(run)

    def _due(self, run: TrainingRun) -> bool:
        if self.every is not None:
            return run.step % self.every == 0
        before = self._passed(run, max(0, run.step - 1)) if self._reached is None else self._reached
        self._reached = self._passed(run, run.step)
        return before < self._reached < self.times

    def _passed(self, run: TrainingRun, step: int) -> int:
        return min(self.times, math.floor(run.budget.progress(step) * self.times + 1e-9))


class Checkpoints(Periodic):
    """Writes checkpoints at regular intervals and at the end, and deletes old ones.

    Args:
        every: Steps between checkpoints; None: ten per run.
        keep: Number of latest checkpoints that stay on disk.
    """

    def __init__(self, every: int | None = None, keep: int = 3):
        super().__init__(every, 10)
        self.keep = keep

    def act(self, run: TrainingRun) -> None:
        trainer, path = run.trainer, run.folder.checkpoint(run.step)
        header = Header(run.recipe.dump(), run.parts.spec, run.step, run.budget.elapsed, run.parts.clip_lengths)
        modules = {"model": trainer.model, "ema": trainer.ema.model, "codec": run.parts.codec}
        modules |= {f"objective_{name}": module for name, module in trainer.objective.state().items()}
        try:
            save(path, header, modules, trainer.optimizer)
        except NotSaved as e:
            raise RunFailed(
                f"{e}: free some disk space, then continue with: sonolux train --resume {run.folder.path}"
            ) from e
        run.folder.prune(self.keep)
        for callback in run.callbacks:
            callback.on_save(run, path)
