"""What happens beside the training steps: checkpoints, and whatever a caller adds, such as previews."""

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
    """Training cannot go on; the message says what was saved. The command line exits with 1."""


class Callback(Protocol):
    """What a training run calls. Derive from this class and write the methods that are needed; the others do nothing.

    `run` gives the recipe, `run.parts`, `run.trainer` (model, ema, optimizer), `run.step`, `run.budget`, `run.folder`,
    `run.device` and `run.say`.
    """

    def check(self, run: TrainingRun) -> None:
        """The model is built and nothing is written yet: raise BadInput for wishes that cannot be met."""

    def on_start(self, run: TrainingRun) -> None:
        """Before the first step, also of a resumed run."""

    def on_step(self, run: TrainingRun, result: StepResult) -> None:
        """After a step."""

    def on_save(self, run: TrainingRun, path: Path) -> None:
        """After a checkpoint was written."""

    def on_end(self, run: TrainingRun) -> None:
        """After the last step and its checkpoint; not where the run was interrupted or failed."""


class Periodic(Callback):
    """Acts several times a run and, where the run ends, once more unless it has just acted.

    The log is written before it acts, so that it never acts on weights that are no longer finite. Its time does not
    count in the logged speed, and a run of minutes keeps back what the last action will take.

    Args:
        every: steps between actions; None: `times` a run.
        times: how often it acts in a run, the end included, where `every` is None.

    Attributes:
        seconds: what its last action took.
    """

    def __init__(self, every: int | None, times: int):
        self.every, self.times, self.seconds = every, times, 0.0
        self._acted_at = -1  # step
        self._reached: int | None = None  # how many of `times` the run has passed

    @abstractmethod
    def act(self, run: TrainingRun) -> None:
        """What is done after step `run.step`."""

    def act_once(self, run: TrainingRun) -> None:
        """Act, unless that was done after this very step."""
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
    """Writes checkpoints: every `train.save_every` steps or ten a run, and at the end; the last `train.keep` stay.

    Args:
        every: steps between checkpoints; None: ten a run.
        keep: how many of the last stay on disk.
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
            raise RunFailed(f"{e}: make room, then continue with: sonolux train --resume {run.folder.path}") from e
        run.folder.prune(self.keep)
        for callback in run.callbacks:
            callback.on_save(run, path)
