"""Callbacks of a training run: checkpoints, and those that a caller adds, such as previews."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..codecs.base import LearnedCodec
from ..config.recipe import Recipe
from ..types import BadInput
from .build import ModelComponents
from .checkpoint import CheckpointHeader, CheckpointNotSaved, NotFinite, save_checkpoint
from .distributed import Ranks
from .lr import TrainingBudget
from .run_dir import RunDir
from .step import StepResult, Trainer

FIRST = 10  # steps before the first checkpoint of a run that replaces an earlier one


class RunFailed(Exception):
    """Training cannot continue; the message says what was saved. The command line exits with 1."""


class RunState(Protocol):
    """What a callback sees of a training run; `TrainingRun` has all of it.

    Attributes:
        recipe: What is trained.
        folder: The run folder.
        device: Where the model is.
        parts: What the recipe builds.
        trainer: Model, average of the weights and optimizer.
        ranks: The processes that train together.
        budget: How much of the run is done.
        log: Writes metrics.jsonl.
        callbacks: All callbacks of the run, in the order in which they are called.
        step: Optimizer steps so far.
    """

    recipe: Recipe
    folder: RunDir
    device: torch.device
    parts: ModelComponents
    trainer: Trainer
    ranks: Ranks
    budget: TrainingBudget
    log: Any
    callbacks: list[Callback]

    @property
    def step(self) -> int: ...

    def say(self, text: str, /) -> Any:
        """Tell the user something."""
        ...

    def pause(self, seconds: float) -> None:
        """Exclude seconds from the logged speed."""
        ...


class Callback(Protocol):
    """Methods that a training run calls. Derive from this class and override what is needed; the others do nothing."""

    def check(self, run: RunState) -> None:
        """Called when the model is built and nothing is written yet; raises BadInput for settings that cannot work."""

    def on_start(self, run: RunState) -> None:
        """Called before the first step, also of a resumed run."""

    def on_step(self, run: RunState, result: StepResult) -> None:
        """Called after a step."""

    def on_save(self, run: RunState, path: Path) -> None:
        """Called after a checkpoint was written."""

    def on_log(self, run: RunState, row: Mapping[str, Any]) -> None:
        """Called after a line of the log was written; the row has the key "step"."""

    def on_preview(self, run: RunState, media: Sequence[Tensor], captions: Sequence[str]) -> None:
        """Called after a preview was made.

        Args:
            run: The run.
            media: The examples that it shows, (C, *spatial) each.
            captions: Their captions.
        """

    def on_end(self, run: RunState) -> None:
        """Called after the last step and its checkpoint, but not if the run was interrupted or failed."""

    def close(self, run: RunState) -> None:
        """Called at the end of a run that has begun, also if it was interrupted or has failed."""

    def ends(self, run: RunState) -> str | None:
        """Why the run ends before its budget is used up; None: it goes on. Asked after every step."""
        return None

    def state(self) -> Mapping[str, nn.Module]:
        """Name -> module whose buffers checkpoints hold, so that a resumed run goes on as if it was not stopped."""
        return {}


class PeriodicCallback(Callback):
    """Acts at regular intervals and at the end of the run.

    The log is written first, which ends the run if the weights are no longer finite. The time of an action is not part
    of the logged speed, and a run limited by minutes reserves time for the last action.

    Args:
        every: Steps between actions; None: `times` actions per run.
        times: Number of actions per run, including that at the end, if `every` is None.

    Attributes:
        about: What the progress bar shows during an action.
        seconds: Duration of the last action.
    """

    about: str = ""

    def __init__(self, every: int | None, times: int):
        self.every, self.times, self.seconds = every, times, 0.0
        self._acted_at = -1  # step
        self._reached: int | None = None  # number of `times` that the run has reached

    @abstractmethod
    def act(self, run: RunState) -> None:
        """The action, after step `run.step`."""

    def act_once(self, run: RunState) -> None:
        """Act, unless this was already done after the current step."""
        if self._acted_at == run.step:
            return
        self._acted_at = run.step
        run.log.write()
        began = time.monotonic()
        run.log.describe(self.about)
        self.act(run)
        run.log.describe("")  # training again
        self.seconds = time.monotonic() - began
        run.pause(self.seconds)

    def on_start(self, run: RunState) -> None:
        self._acted_at, self._reached = -1, None

    def on_step(self, run: RunState, result: StepResult) -> None:
        if self._due(run):
            self.act_once(run)

    def on_end(self, run: RunState) -> None:
        self.act_once(run)

    def _due(self, run: RunState) -> bool:
        if self.every is not None:
            return run.step % self.every == 0
        before = self._passed(run, max(0, run.step - 1)) if self._reached is None else self._reached
        self._reached = self._passed(run, run.step)
        return before < self._reached < self.times

    def _passed(self, run: RunState, step: int) -> int:
        return min(self.times, math.floor(run.budget.progress(step) * self.times + 1e-9))


class CheckpointCallback(PeriodicCallback):
    """Writes checkpoints at regular intervals and at the end, and deletes old ones.

    Weights that are not finite end the run without a checkpoint. A checkpoint that cannot be written does not: on a
    full disk the next one is tried again, and if the run folder was moved, removed or damaged, the run continues in a
    new one. While the folder still holds an earlier run, which the first checkpoint replaces, none is written before
    step FIRST, except at the end: most runs that fail do it in their first steps.

    Args:
        every: Steps between checkpoints; None: ten per run.
        keep: Number of latest checkpoints that stay on disk.

    Attributes:
        error: Why the last checkpoint was not written; None: it was.
    """

    def __init__(self, every: int | None = None, keep: int = 3):
        super().__init__(every, 10)
        self.keep, self.error = keep, None

    def _due(self, run: RunState) -> bool:
        return super()._due(run) and (run.step >= FIRST or not run.folder.replaces)

    def act(self, run: RunState) -> None:
        try:
            self._save_or_move(run)
        except (CheckpointNotSaved, OSError, BadInput) as error:
            if self.error is None:
                run.say(f"{error}: the training continues, and the next checkpoint is tried again")
            self.error, self._acted_at = str(error), -1
            return
        self.error = None
        for callback in run.callbacks:
            callback.on_save(run, run.folder.checkpoint(run.step))

    def _save_or_move(self, run: RunState) -> None:
        folder = run.folder
        if folder.is_intact():
            try:
                return self._save(run)
            except (CheckpointNotSaved, OSError, BadInput) as error:
                if isinstance(error, CheckpointNotSaved) and error.full:
                    raise
                reason = str(error)
        else:
            reason = f"{folder.path} was moved, removed or replaced during the training"
        folder.move()
        self._save(run)
        run.say(f"{reason}. The run continues in {folder.path}")

    def _save(self, run: RunState) -> None:
        trainer = run.trainer
        header = CheckpointHeader(
            run.recipe.dump(), run.parts.spec, run.step, run.budget.elapsed, run.parts.clip_lengths
        )
        parts: dict[str, Any] = {**trainer.state_to_save(), "codec": run.parts.codec}
        parts |= {f"objective_{name}": module for name, module in trainer.objective.state().items()}
        parts |= {name: module for callback in run.callbacks for name, module in callback.state().items()}
        try:
            save_checkpoint(run.folder.checkpoint(run.step), header, parts)
        except NotFinite as error:
            run.log.fail(run.step, f"the tensor {error}")
        codec = run.parts.codec
        if isinstance(codec, LearnedCodec) and not run.folder.codec.exists():
            codec.write(run.folder.codec)
        run.folder.saved(self.keep)
