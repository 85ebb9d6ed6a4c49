"""A training run: builds data and model, trains, logs, writes checkpoints, resumes and stops."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config.recipe import Recipe
from ..data.loader import DataLost
from ..types import BadInput, Dataset
from ..util.device import choose_device, native_bf16
from ..util.messages import counted
from ..util.progress import bar as progress
from .build import Parts, build_data, build_parts, check_conditions, fit_codec
from .callbacks import Callback, Checkpoints, Periodic, RunFailed
from .checkpoint import read, read_header, read_optimizer
from .log import MetricsLog
from .lr import TrainingBudget
from .run_dir import RunDir
from .step import Trainer

__all__ = ["RunFailed", "TrainingRun"]


class TrainingRun:
    """A training run with its folder.

    Args:
        recipe: The recipe.
        folder: The run folder.
        say: Called with lines for the user.
        bar: Whether to show a progress bar.
        callbacks: Called in this order; checkpoints are written after them.

    Attributes:
        parts: The objects that the recipe describes; set by `prepare`, like the following attributes.
        trainer: Weights, their average, the optimiser.
        budget: Progress of the run.
        log: The log; set by `run`.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        say: Callable[[str], None] = print,
        bar: bool = True,
        callbacks: Sequence[Callback] = (),
    ):
        self.started = time.monotonic()
        self.recipe, self.folder, self.say, self.bar = recipe, RunDir(folder), say, bar
        self.checkpoints = Checkpoints(recipe.train.save_every, recipe.train.keep)
        self.callbacks: list[Callback] = [*callbacks, self.checkpoints]
        self.device = choose_device(recipe.train.device)
        self.interrupted = False

    @property
    def step(self) -> int:
        """Optimiser steps made."""
        return self.trainer.step

    def prepare(self, resume: Path | None = None, weights: Path | None = None, overwrite: bool = False) -> None:
        """Read the data, fit the codec, build the model; nothing is written before all of this has succeeded.

        Args:
            resume: Checkpoint of this run to continue from.
            weights: Checkpoint of any run with the same network, for initial weights.
            overwrite: Replace the run in the folder.

        Raises:
            BadInput: The recipe, the data, the checkpoint or the folder cannot be used.
        """
        if resume is None:
            self.folder.refuse_if_used(overwrite)
        data, found = build_data(self.recipe)
        self.parts: Parts = build_parts(self.recipe, found)
        check_conditions(self.parts, data)
        for callback in self.callbacks:
            callback.check(self)
        elapsed = self._begin(data, weights) if resume is None else self._resume(data, resume)
        self.budget = TrainingBudget(self.recipe.train, elapsed + time.monotonic() - self.started)

    def _begin(self, data: Dataset, weights: Path | None) -> float:
        self.parts.clip_lengths = fit_codec(self.parts.codec, data)
        if weights is not None:
            read_header(weights)
            read(weights, self.parts.model, "ema")
        self.trainer = Trainer(self.parts, data, self.device)
        self.folder.create(self.recipe, data, self.device)
        return 0.0

    def _resume(self, data: Dataset, checkpoint: Path) -> float:
        header, parts = read_header(checkpoint), self.parts
        if header.spec.classes != parts.spec.classes:
            raise BadInput(f"the data's classes are {parts.spec.classes}, and the run's are {header.spec.classes}")
        read(checkpoint, parts.codec, "codec")
        read(checkpoint, parts.model, "model")
        self.trainer = Trainer(parts, data, self.device)
        read(checkpoint, self.trainer.ema.model, "ema")
        for name, module in parts.objective.state().items():
            read(checkpoint, module, f"objective_{name}")
        read_optimizer(checkpoint, self.trainer.optimizer)
        self.trainer.step, parts.clip_lengths = header.step, header.clip_lengths
        self.folder.resume(self.recipe, header.step)
        if not self.folder.same_data(data):
            self.say("the data has changed since this run was started: the run continues with the current data")
        return header.elapsed

    def describe(self) -> list[str]:
        """A description of the run, in a few lines."""
        parts, train = self.parts, self.recipe.train
        weights = sum(p.numel() for p in parts.model.parameters())
        auto16 = train.precision == "bf16" or (train.precision == "auto" and native_bf16(self.device))
        length = counted(train.minutes or 0, "minute") if train.steps is None else counted(train.steps, "step")
        classes = f", {len(parts.spec.classes)} classes" if parts.spec.classes else ""
        return [
            f"{self.recipe.name}: {counted(len(self.trainer.data), 'example')}{classes}; "
            f"diffuses {tuple(parts.spec.latent)}",
            f"{weights / 1e6:.2f} M weights, batches of {train.batch}, {length}, {self.device.type} "
            f"in {'bf16' if auto16 else 'float32'}; writes {self.folder.path}",
        ]

    def run(self) -> Path:
        """Train to the end, or until Ctrl-C or SIGTERM.

        Returns:
            The last checkpoint.

        Raises:
            RunFailed: The loss or its gradient is no longer finite, or a checkpoint cannot be written.
            BadInput: Too many examples can no longer be read; a checkpoint was saved.
            KeyboardInterrupt: The user stopped the run; a checkpoint was saved.
        """
        first = self.step
        if first and self.budget.progress(first) >= 1:
            self.say("this run is finished: raise train.steps or train.minutes to train further")
            return self.folder.checkpoint(first)
        shown = progress("", "step", self.recipe.train.steps, done=first, show=self.bar, delay=0, leave=True)
        with self._interrupts(), shown as bar:
            self.log = MetricsLog(self, bar)
            for callback in self.callbacks:
                callback.on_start(self)
            try:
                while not self.interrupted and (done := self.budget.progress(self.step)) < 1:
                    result = self.trainer.train_step(done)
                    self.log.add(result)
                    for callback in self.callbacks if not self.interrupted else ():
                        callback.on_step(self, result)
            except DataLost as lost:
                raise self._saved(lost) from lost
            self.checkpoints.act_once(self)
            if self.interrupted:
                raise KeyboardInterrupt(
                    f"stopped at step {self.step}, saved; continue with: sonolux train --resume {self.folder.path}"
                )
            for callback in self.callbacks:
                callback.on_end(self)
        self._report(first)
        return self.folder.checkpoint(self.step)

    def _saved(self, lost: DataLost) -> BadInput:
        """Save a checkpoint, since too many examples can no longer be read; returns the error to raise."""
        self.checkpoints.act_once(self)
        again = f"with the files back, continue with: sonolux train --resume {self.folder.path}"
        return BadInput(f"{lost}. Step {self.step} is saved; {again}")

    def pause(self, seconds: float) -> None:
        """Exclude a callback's `seconds` from the logged speed, and reserve time for the callbacks at the end."""
        self.log.pause(seconds)
        spent = sum(callback.seconds for callback in self.callbacks if isinstance(callback, Periodic))
        self.budget.reserve = 1.2 * spent + 1.0

    def _report(self, first: int) -> None:
        if self.step == first:
            self.say("no step was made: train.minutes passed while the data was read; increase it")
        if lost := self.trainer.data_of_steps.lost:
            few = "; ".join(list(lost.values())[:3]) + (f"; and {len(lost) - 3} more" if len(lost) > 3 else "")
            self.say(f"{len(lost)} of {counted(len(self.trainer.data), 'example')} could not be used: {few}")
        if (message := self.budget.shortfall(self.step, self.folder.path)) is not None:
            self.say(message)

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the run after the current step; restore the previous handlers afterwards."""
        previous = self._catch_interrupts()
        try:
            yield
        finally:
            self.trainer.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _catch_interrupts(self) -> dict[signal.Signals, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}  # only the main thread receives signals

        def handle(number: int, frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt("stopped at once; the last checkpoint is kept")
            self.interrupted = True

        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = {n: signal.getsignal(n) or signal.SIG_DFL for n in numbers}
        for n in numbers:
            signal.signal(n, handle)
        return previous
