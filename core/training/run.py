"""A training run from beginning to end: folder, log, previews, checkpoints, resuming, stopping."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..config.recipe import Recipe
from ..pipeline.pipeline import Pipeline
from ..types import BadInput
from ..util.device import choose_device, native_bf16
from ..util.messages import counted
from ..util.progress import Lines
from ..util.progress import bar as progress
from .build import Parts, build_data, build_parts, check_conditions, fit_codec
from .checkpoint import Header, NotSaved, read, read_header, read_optimizer, save
from .loop import State, Trainer
from .lr import TrainingBudget
from .run_dir import RunFolder

BINS = 8  # loss is logged by noise level, in equal bins of tau
SHOWN = 64  # samples in a preview at most, as many as a sheet shows


class RunFailed(Exception):
    """Training cannot go on; the message says what was saved. The command line exits with 1."""


class TrainingRun:
    """One run in one folder.

    recipe:  what to train
    folder:  where
    say:     called with lines for the user
    bar:     show a progress bar
    """

    def __init__(self, recipe: Recipe, folder: Path, say: Callable[[str], None] = print, bar: bool = True):
        self.started = time.monotonic()
        self.recipe, self.folder, self.say, self.bar = recipe, RunFolder(folder), say, bar
        self.device = choose_device(recipe.train.device)
        self.interrupted = False

    def prepare(self, resume: Path | None = None, weights: Path | None = None, overwrite: bool = False) -> None:
        """Read the data, fit the codec, build the model; nothing is written before all of it works.

        resume:  checkpoint of this very run to continue
        weights: checkpoint of any run with the same network, to start from
        """
        if resume is None:
            self.folder.refuse_if_used(overwrite)
        data, found = build_data(self.recipe)
        self.parts: Parts = build_parts(self.recipe, found)
        check_conditions(self.parts, data)
        # What sampling refuses is better told now than at the first preview.
        Pipeline(self.parts, self.parts.model, 0, torch.device("cpu")).check()
        elapsed = 0.0
        if resume is None:
            self.parts.clip_lengths = fit_codec(self.parts.codec, data)
            if weights is not None:
                read_header(weights)
                read(weights, self.parts.model, "ema")
            self.trainer = Trainer(self.parts, data, self.device)
            self.folder.create(self.recipe, data, self.device)
        else:
            header = read_header(resume)
            if header.spec.classes != found.classes:
                raise BadInput(f"the data's classes are {found.classes}, and the run's are {header.spec.classes}")
            read(resume, self.parts.codec, "codec")
            read(resume, self.parts.model, "model")
            self.trainer = Trainer(self.parts, data, self.device)
            read(resume, self.trainer.ema.model, "ema")
            read_optimizer(resume, self.trainer.optimizer)
            self.trainer.step, elapsed, self.parts.clip_lengths = header.step, header.elapsed, header.clip_lengths
            self.folder.go_on(self.recipe, header.step)
            if not self.folder.same_data(data):
                self.say("the data is no longer what this run began with: it goes on with what is there now")
        self.clock = TrainingBudget(self.recipe.train, elapsed + time.monotonic() - self.started)

    def describe(self) -> list[str]:
        """What is about to run, in a few lines."""
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
        """Train to the end, or until Ctrl-C or SIGTERM; returns the last checkpoint.

        Raises RunFailed where the loss or its gradient is no longer finite or a checkpoint cannot be written, and
        KeyboardInterrupt after saving where the user asked to stop.
        """
        previous = self._catch_interrupt()
        try:
            return self._run()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _run(self) -> Path:
        train, trainer = self.recipe.train, self.trainer
        self._last = time.monotonic()
        self._states: list[State] = []
        self._saved = self._previewed = -1
        path, begun = self.folder.checkpoint(trainer.step), trainer.step
        if begun and self.clock.progress(begun) >= 1:
            self.say("this run is finished: raise train.steps or train.minutes to train further")
            return path
        with progress("", "step", train.steps, done=begun, show=self.bar, delay=0, leave=True) as bar:
            for state in trainer.steps(self.clock):
                self._states.append(state)
                bar.update()
                if state.step % train.log_every == 0 or self.interrupted:
                    self._log(bar)
                if self.interrupted:
                    break
                if self._due("preview", train.preview_every, 5):
                    self._log(bar)
                    self._preview()
                if self._due("save", train.save_every, 10):
                    self._log(bar)
                    self._save()
            self._log(bar)
        path = self._save()
        if self.interrupted:
            raise KeyboardInterrupt(
                f"stopped at step {trainer.step}, saved; continue with: sonolux train --resume {self.folder.path}"
            )
        if trainer.step == begun:
            self.say("no step was made: train.minutes passed while the data was read; give it more")
        self._preview()
        return path

    def _catch_interrupt(self) -> dict[signal.Signals, Any]:
        """Make Ctrl-C and SIGTERM end the run after the step in hand; returns the handlers that stood before."""
        if threading.current_thread() is not threading.main_thread():
            return {}  # Python gives signals to the main thread alone

        def handle(number: int, frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt("stopped at once; the last checkpoint stands")
            self.interrupted = True

        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = {n: signal.getsignal(n) or signal.SIG_DFL for n in numbers}
        for n in numbers:
            signal.signal(n, handle)
        return previous

    def _due(self, what: str, every: int | None, times: int) -> bool:
        """Whether a preview or checkpoint falls on this step: every so many steps, or so many times a run."""
        if every is not None:
            return self.trainer.step % every == 0
        done = min(times, math.floor(self.clock.progress(self.trainer.step) * times + 1e-9))
        last: dict[str, int] = self.__dict__.setdefault("_dues", {})
        if what not in last:
            last[what] = math.floor(self.clock.progress(max(0, self.trainer.step - 1)) * times + 1e-9)
        due, last[what] = last[what] < done < times, done
        return due

    def _log(self, bar: tqdm | Lines) -> None:
        """Write the mean of the steps since the last line; stop where one of them was not finite."""
        if not self._states:
            return
        states, self._states = self._states, []
        loss, norm = torch.stack([s.loss for s in states]).cpu(), torch.stack([s.norm for s in states]).cpu()
        # A gradient that is not finite has spoilt the weights that a checkpoint of this step would hold.
        if bool((bad := ~torch.isfinite(loss + norm)).any()):
            first = int(bad.nonzero()[0])
            self._fail(states[first].step, "the gradient" if bool(torch.isfinite(loss[first])) else "the loss")
        now = time.monotonic()
        speed = len(states) * self.recipe.train.batch / max(1e-9, now - self._last)
        self._last = now
        taus, by = torch.cat([s.tau for s in states]), torch.cat([s.by_sample for s in states]).cpu()
        row = {
            "step": states[-1].step,
            "loss": round(float(loss.mean()), 6),
            "rate": states[-1].rate,
            "grad_norm": round(float(norm.mean()), 5),
            "samples_per_s": round(speed, 2),
            "elapsed_s": round(self.clock.elapsed, 2),
            "loss_by_tau": [_mean(by[(taus * BINS).long().clamp(0, BINS - 1) == b]) for b in range(BINS)],
        }
        self.folder.log(row)
        left = (1 - self.clock.progress(row["step"])) * 60 * (self.recipe.train.minutes or 0)
        bar.set_postfix_str(
            f"loss {row['loss']:.4f}, {speed:.0f} samples/s"
            + (f", {left:.0f} s left" if self.recipe.train.minutes else "")
        )

    def _fail(self, step: int, what: str) -> None:
        saved = sorted(self.folder.checkpoints.glob("step-*.safetensors"))
        sources = self.trainer.sources(step)
        shown = ", ".join(sources[:8]) + (f" and {len(sources) - 8} more" if len(sources) > 8 else "")
        raise RunFailed(
            f"{what} of step {step} is not finite. Its batch: {shown}. Last good checkpoint: "
            f"{saved[-1] if saved else 'none yet'}. Check those files, or lower train.optimizer.lr"
            + (f": sonolux train --resume {self.folder.path} train.optimizer.lr=..." if saved else "")
        )

    def _save(self) -> Path:
        trainer = self.trainer
        path = self.folder.checkpoint(trainer.step)
        if self._saved == trainer.step:
            return path
        header = Header(self.recipe.dump(), self.parts.spec, trainer.step, self.clock.elapsed, self.parts.clip_lengths)
        modules = {"model": trainer.model, "ema": trainer.ema.model, "codec": self.parts.codec}
        try:
            save(path, header, modules, trainer.optimizer)
        except NotSaved as e:
            raise RunFailed(f"{e}: make room, then continue with: sonolux train --resume {self.folder.path}") from e
        self._saved = trainer.step
        self.folder.prune(self.recipe.train.keep)
        return path

    def _preview(self) -> None:
        """Samples of the averaged weights with the recipe's own settings: the sheet that `sonolux sample` gives."""
        if self._previewed == self.trainer.step:
            return
        self._previewed = self.trainer.step
        begun = time.monotonic()
        trained = Pipeline(self.parts, self.trainer.ema.model, self.trainer.step, self.device)
        samples = trained.sample(count=min(self.recipe.sample.count, SHOWN))
        target = self.folder.previews / f"step-{self.trainer.step:08d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.parts.modality.sheet(target, samples.media, samples.captions)
        spent = time.monotonic() - begun
        self.clock.reserve = 1.2 * spent + 1.0
        self._last += spent


def _mean(values: torch.Tensor) -> float | None:
    return round(float(values.mean()), 5) if len(values) else None
