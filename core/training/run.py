"""A training run: builds data and model, trains, logs, writes checkpoints, resumes and stops."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..codecs.base import LearnedCodec
from ..config.recipe import Recipe
from ..data.loader import TooManyExamplesLost
from ..types import BadInput, Dataset
from ..util.interrupts import Interrupted, SignalHandler, defer_signals
from ..util.messages import format_count, print_lines
from ..util.progress import progress_bar as progress
from .build import (
    EmptySplit,
    ModelComponents,
    build_dataset,
    build_model_components,
    check_conditions,
    fit_codec,
    fit_conditions,
)
from .callbacks import Callback, CheckpointCallback, PeriodicCallback, RunFailed
from .checkpoint import has_part, load_codec, load_weights, read_header
from .distributed import RankLost, Ranks
from .held_out import HeldOutCallback
from .latents import make_latent_cache, wants_latent_cache
from .log import MetricsLog
from .log_callback import LoggerCallback
from .lr import TrainingBudget
from .restore import read_training_data, restore_trainer
from .run_dir import RunDir
from .run_messages import describe_end, describe_run
from .step import StepResult, Trainer
from .unwritten_run_dir import UnwrittenRunDir

__all__ = ["RunFailed", "TrainingRun"]


class TrainingRun:
    """A training run with its folder.

    Args:
        recipe: The recipe.
        folder: The run folder.
        say: Called with lines for the user.
        bar: Whether to show a progress bar.
        callbacks: Called in this order; checkpoints are written after them.
        announce: Called with a line before `prepare` fits the codec, which may take long; None: it is not.
        ranks: The processes that train together; None: this one alone. Only rank 0 calls the callbacks and writes.

    Attributes:
        parts: The objects that the recipe describes; set by `prepare`, like the following attributes.
        trainer: Weights, their average, the optimiser.
        budget: Progress of the run.
        finished: Whether steps were made before and the budget is used up, so that `run` makes no further step.
        log: The log; set by `run`.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        say: Callable[[str], None] = print_lines,
        bar: bool = True,
        callbacks: Sequence[Callback] = (),
        announce: Callable[[str], None] | None = None,
        ranks: Ranks | None = None,
    ):
        self.started = time.monotonic()
        self.ranks = ranks or Ranks()
        self.recipe, self.say, self.bar = recipe, say, bar
        self.folder = RunDir(folder) if self.ranks.writes else UnwrittenRunDir(folder)
        self.announce = announce or (lambda _: None)
        self.checkpoints = CheckpointCallback(recipe.train.save_every, recipe.train.keep)
        self.held_out = HeldOutCallback(recipe, self._held_out_examples)
        every: list[Callback] = [LoggerCallback(recipe), *callbacks, self.held_out, self.checkpoints]
        self.callbacks: list[Callback] = every if self.ranks.writes else []
        self.device = self.ranks.choose_device(recipe.train.device)
        self.interrupted = False
        self._recorded: frozenset[str] = frozenset()  # hashes of the files that the run to continue was trained on

    @property
    def step(self) -> int:
        """Optimiser steps made."""
        return self.trainer.step

    def _ended(self) -> str | None:
        """Why a callback has ended the run before its budget was used up; None: it has not."""
        return next((reason for callback in self.callbacks if (reason := callback.ends(self)) is not None), None)

    def _progress(self) -> float:
        """Completed fraction of the run; 1 if a callback has ended it."""
        return 1.0 if self._ended() is not None else self.budget.progress(self.step)

    def prepare(
        self, resume: Path | None = None, weights: Path | None = None, overwrite: bool = False, moved: bool = False
    ) -> None:
        """Read the data, fit the codec, build the model; nothing is written before all of this has succeeded.

        The folder is locked until the end of `run`, or until `close`.

        Args:
            resume: Checkpoint of this run to continue from.
            weights: Checkpoint of any run with the same network, for initial weights.
            overwrite: Replace the run in the folder.
            moved: The recipe names another place of the data: resume only if the data is the same.

        Raises:
            BadInput: The recipe, the data, the checkpoint or the folder cannot be used.
        """
        self.ranks.check_batch(self.recipe.train.batch)
        self.folder.lock()
        try:
            if resume is None:
                self.folder.check_unused(overwrite)
            data, found, self._recorded = read_training_data(self.recipe, self.folder, resume is not None)
            self.parts: ModelComponents = build_model_components(self.recipe, found)
            check_conditions(self.parts, data)
            for callback in self.callbacks:
                callback.check(self)
            if resume is None:
                classes = f", {len(found.classes)} classes" if found.classes else ""
                self.announce(f"{self.recipe.name}: {format_count(len(data), 'example')}{classes}; fitting the codec")
            elapsed = self._begin(data, weights) if resume is None else self._resume(data, resume, moved)
            self.budget = TrainingBudget(self.recipe.train, elapsed + time.monotonic() - self.started)
            self.finished = self.ranks.share(self.step > 0 and self._progress() >= 1)
        except BaseException:
            self.close()
            raise

    def _held_out_examples(self) -> Dataset | None:
        """The held-out examples; None: there are none."""
        try:
            return build_dataset(self.recipe, "valid", self._recorded)[0]
        except EmptySplit:
            return None

    def close(self) -> None:
        """Unlock the folder. A run that was to replace another one is given up if it has saved no checkpoint."""
        if self.folder.replaces:
            self.say(f"the earlier run in {self.folder.path} is unchanged")
        self.folder.close()

    def _begin(self, data: Dataset, weights: Path | None) -> float:
        cached, codec = wants_latent_cache(self.parts, data), self.parts.codec
        if weights is not None:
            read_header(weights)
        fitted = weights is not None and isinstance(codec, LearnedCodec)
        if weights is not None and fitted:  # the weights are for the latent tensor of their own codec
            load_codec(weights, codec)
        self.parts.clip_lengths = fit_codec(codec, data, self.device, fitted)
        fit_conditions(self.parts.model, data)
        if weights is not None:
            load_weights(weights, self.parts.model, "ema")
        self.trainer = Trainer(self.parts, data, self.device, self.ranks)
        self.trainer.shard()
        self.folder.create(self.recipe, data, self.device)
        self._cache_latents(cached)
        return 0.0

    def _cache_latents(self, cached: bool) -> None:
        if cached:
            trainer = self.trainer
            trainer.latents = make_latent_cache(self.parts, self.device, lambda: self.folder.latents, trainer.encode)

    def _resume(self, data: Dataset, checkpoint: Path, moved: bool) -> float:
        header, parts = read_header(checkpoint), self.parts
        cached = wants_latent_cache(parts, data)
        changes = self.folder.data_changes(data)
        if changes and moved:
            raise BadInput(f"this is not the data of the run: {changes}. --from {checkpoint} starts a new run with it")
        if header.spec.classes != parts.spec.classes:
            raise BadInput(f"the data's classes are {parts.spec.classes}, and the run's are {header.spec.classes}")
        self.trainer = restore_trainer(checkpoint, header, parts, data, self.device, self.ranks)
        for name, module in ((n, m) for callback in self.callbacks for n, m in callback.state().items()):
            if has_part(checkpoint, name):  # not in a run that was started without it
                load_weights(checkpoint, module, name)
        self.folder.resume(self.recipe, header.step, data if changes else None)
        self._cache_latents(cached)
        if changes:
            self.say(f"{changes}. The run continues with the current data")
        return header.elapsed

    def describe(self) -> list[str]:
        """What is trained, how long and where, and the captions, in a few lines."""
        return describe_run(self)

    def run(self) -> Path:
        """Train to the end, or until Ctrl-C, SIGTERM or SIGHUP.

        Returns:
            The last checkpoint.

        Raises:
            RunFailed: The loss or its gradient is no longer finite, or the last checkpoint cannot be written.
            BadInput: Too many examples can no longer be read; a checkpoint was saved.
            Interrupted: A signal stopped the run; a checkpoint was saved.
        """
        first = self.step
        try:
            if self.finished:
                done = self.folder.checkpoint(first)
                ended = self._ended()
                remedy = "set train.until=limit to" if ended else "raise train.steps or train.minutes to"
                if ended:
                    self.say(ended)
                self.say(f"this run is finished ({done}): {remedy} train further")
                return done
            show = self.bar and self.ranks.writes
            shown = progress("", "step", self.recipe.train.steps, done=first, show=show, delay=0, leave=True)
            with defer_signals() as signals, shown as bar:
                self.log = MetricsLog(self, bar)
                try:
                    self._train(signals)
                    self._save_last(signals)
                    self._call(lambda callback: callback.on_end(self))
                finally:
                    for callback in self.callbacks:
                        callback.close(self)
                self.ranks.wait()
        except RankLost as lost:
            raise RunFailed(f"{lost}: {self._how_to_continue()}") from lost
        finally:
            self._close_log()
            self.close()
        if self.ranks.writes:
            if (reason := self._ended()) is not None:
                self.say(reason)
            for line in describe_end(self, first):
                self.say(line)
        return self.folder.checkpoint(self.step)

    def _train(self, signals: SignalHandler) -> None:
        """Train to the end of the budget or to a signal."""
        self._call(lambda callback: callback.on_start(self))
        try:
            while (done := self._load_and_agree(signals)) < 1:
                result = self.trainer.train_step(done)
                self.trainer.act_on_rank_0(partial(self._after_step, result, signals))
        except TooManyExamplesLost as lost:
            if not self._save_complete_step():
                raise
            again = f"with the files back, continue with: {self.folder.resume_command}"
            raise BadInput(f"{lost}. Step {self.step} is saved; {again}") from lost
        except (BadInput, OSError):
            if self._save_complete_step():
                self.say(f"step {self.step} is saved; to continue: {self.folder.resume_command}")
            raise
        finally:
            self.trainer.close()

    def _call(self, call: Callable[[Callback], None]) -> None:
        """Call every callback, on rank 0."""
        self.trainer.act_on_rank_0(lambda: [call(callback) for callback in self.callbacks])

    def _after_step(self, result: StepResult, signals: SignalHandler) -> None:
        self.log.add(result)
        for callback in self.callbacks if not self._stopped(signals) else ():
            callback.on_step(self, result)

    def _load_and_agree(self, signals: SignalHandler) -> float:
        """Load the next batch; the completed fraction of the run, which is 1 after a signal.

        All ranks make the same number of steps: rank 0 measures the time, and a signal or an unusable batch of one rank
        ends all of them here, where no gradients are on their way.
        """
        done, failure = self._progress(), None
        if done < 1 and not self._stopped(signals):
            try:
                self.trainer.load()
            except (BadInput, OSError) as error:
                failure = error
        return self._agree(signals, done, failure)

    def _agree(self, signals: SignalHandler, done: float = 1.0, failure: Exception | None = None) -> float:
        examples = self.trainer.data_of_steps
        stop = signals.received or (signal.SIGINT if self.interrupted else 0)
        known = self.ranks.agree(done, stop, failure, examples.lost)
        try:
            examples.count_lost(dict(known.lost))
        except TooManyExamplesLost:
            self.ranks.ends_together = True
            raise
        if not known.signal:  # one that arrived in the meantime counts at the next step: no other rank knows it yet
            return known.progress
        signals.received, self.interrupted = signals.received or known.signal, True
        return 1.0

    def _save_complete_step(self) -> bool:
        """Save the weights after an error of the data, which are those of the last complete step; whether it was done.

        A run that replaces another one and has no checkpoint yet saves none: the other run stays. Nor does rank 0 if
        it needs parts of weights of other ranks and these do not know of the error.
        """
        saved = False
        if self.trainer.shards is None or self.ranks.ends_together:
            saved = bool(self.trainer.act_on_rank_0(self._save))
        if self.ranks.ends_together:
            self.ranks.wait()
        return saved

    def _save(self) -> bool:
        if not self.step or self.folder.replaces:
            return False
        self.checkpoints.act_once(self)
        return self.checkpoints.error is None

    def _stopped(self, signals: SignalHandler) -> bool:
        self.interrupted = self.interrupted or signals.received is not None
        return self.interrupted

    def _save_last(self, signals: SignalHandler) -> None:
        """Write the last checkpoint.

        Raises:
            RunFailed: It cannot be written.
            Interrupted: A signal stopped the run.
        """
        self._agree(signals)
        stopped = self.interrupted
        if stopped and not self.step and self.ranks.share(self.folder.replaces):
            raise Interrupted("stopped before the first step")
        self.trainer.act_on_rank_0(self._save_or_fail)
        self.ranks.wait()
        if stopped:
            raise Interrupted(f"stopped at step {self.step}, saved; continue with: {self.folder.resume_command}")

    def _save_or_fail(self) -> None:
        self.checkpoints.act_once(self)
        if self.checkpoints.error:
            raise RunFailed(f"{self.checkpoints.error}: free some disk space, then {self._how_to_continue()}")

    def _how_to_continue(self) -> str:
        saved = sorted(self.folder.checkpoints.glob("step-*.safetensors"))
        if not saved:
            return "start again, since no checkpoint was saved before"
        return f"continue from {saved[-1].name} with: {self.folder.resume_command}"

    def _close_log(self) -> None:
        if (rest := self.folder.write_rest()) is not None:
            self.say(f"lines of the log that could not be written to metrics.jsonl are in {rest}")

    def pause(self, seconds: float) -> None:
        """Exclude a callback's `seconds` from the logged speed, and reserve time for the callbacks at the end."""
        self.log.pause(seconds)
        spent = sum(callback.seconds for callback in self.callbacks if isinstance(callback, PeriodicCallback))
        self.budget.reserve = 1.2 * spent + 1.0
