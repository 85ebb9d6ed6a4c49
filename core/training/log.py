"""The log of a run: means over several steps, written to metrics.jsonl. A loss that is not finite ends the run here."""

from __future__ import annotations

import time
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..util.device import peak_memory
from ..util.messages import format_first
from ..util.progress import LineProgress, TerminalBar
from .callbacks import RunFailed, RunState
from .checkpoint import is_whole_checkpoint
from .step import StepResult

BINS = 8  # number of equal bins of tau in which the loss is logged


class MetricsLog:
    """Collects step results and writes their means.

    Results stay on the device until they are written, so that the host does not wait after every step.

    Args:
        run: The training run.
        bar: The progress bar, which shows loss and speed.
    """

    def __init__(self, run: RunState, bar: TerminalBar | LineProgress):
        self.run, self.bar = run, bar
        self._results: list[StepResult] = []
        self._since, self._waited = time.monotonic(), 0.0
        self._failed = False  # the last line could not be written

    def add(self, result: StepResult) -> None:
        """Add a step's result; every `train.log_every` steps, write a line."""
        self._results.append(result)
        self.bar.update()
        if result.step % self.run.recipe.train.log_every == 0:
            self.write()

    def describe(self, about: str) -> None:
        """Show in the progress bar what is done between two steps; "": nothing."""
        self.bar.set_description_str(about)

    def pause(self, seconds: float) -> None:
        """Exclude `seconds` that were not spent on training from the speed."""
        self._since += seconds

    def write(self) -> None:
        """Write the means over the steps since the last line, if there are any.

        Raises:
            RunFailed: The loss or the gradient of one of these steps is not finite.
        """
        if not self._results:
            return
        results, self._results = self._results, []
        loss = torch.stack([r.loss for r in results]).cpu()
        grad_norm = torch.stack([r.grad_norm for r in results]).cpu()
        # A gradient that is not finite has made the weights useless, so that no checkpoint of them must be written.
        if bool((bad := ~torch.isfinite(loss + grad_norm)).any()):
            first = int(bad.nonzero()[0])
            self.fail(results[first].step, "the gradient" if bool(torch.isfinite(loss[first])) else "the loss")
        now = time.monotonic()
        seconds, waited = max(1e-9, now - self._since), self.run.trainer.waited
        speed, wait = len(results) * self.run.recipe.train.batch / seconds, (waited - self._waited) / seconds
        self._since, self._waited = now, waited
        step, budget = results[-1].step, self.run.budget
        row = {
            "step": step,
            "loss": round(float(loss.mean()), 6),
            "rate": results[-1].lr,
            "grad_norm": round(float(grad_norm.mean()), 5),
            "samples_per_s": round(speed, 2),
            "data_wait": round(min(1.0, wait), 4),
            "elapsed_s": round(budget.elapsed, 2),
        }
        if (memory := peak_memory(self.run.device)) is not None:
            row["peak_memory_mb"] = round(memory / 2**20, 1)
        if norms := results[-1].layer_norms:
            values = torch.stack(list(norms.values())).tolist()
            row["grad_norm_by_layer"] = {name: round(value, 5) for name, value in zip(norms, values, strict=True)}
        if "tau" in results[0].logged:
            row["loss_by_tau"] = _by_tau(results)
        if means := _means(results):
            row["objective"] = means
        self.write_row(row)
        left = budget.seconds_left(step)
        note = f"loss {row['loss']:.4f}, training {speed:.3g} samples/s"
        self.bar.set_postfix_str(note if left is None else f"{note}, {left:.0f} s left")

    def write_row(self, row: dict[str, Any]) -> None:
        """Write one line, which has the key "step"; if that fails, it is kept and tried again with the next one."""
        self._write_line(row)
        for callback in self.run.callbacks:
            callback.on_log(self.run, row)

    def _write_line(self, row: dict[str, Any]) -> None:
        folder, failed = self.run.folder, self._failed
        try:
            folder.log(row)
            self._failed = False
        except OSError as error:
            self._failed = True
            if not failed:
                self.run.say(f"{folder.metrics} cannot be written ({error.strerror}): its lines are kept, tried again")

    def fail(self, step: int, what: str) -> NoReturn:
        """Raise RunFailed: something of a step is not finite."""
        run = self.run
        saved = sorted(run.folder.checkpoints.glob("step-*.safetensors"))
        good = next((path for path in reversed(saved) if is_whole_checkpoint(path)), None)
        sources = run.trainer.sources(step)
        raise RunFailed(
            f"{what} of step {step} is not finite. Its batch: {format_first(sources, 8)}. Last good checkpoint: "
            f"{good or 'none yet'}. Check those files, or lower train.optimizer.lr"
            + (f": {run.folder.resume_command} train.optimizer.lr=..." if good else "")
        )


def _by_tau(results: list[StepResult]) -> list[float | None]:
    """Mean loss in each bin of the noise level; None for a bin without samples."""
    tau = torch.cat([r.logged["tau"] for r in results]).cpu()
    loss = torch.cat([r.per_sample for r in results]).cpu()
    bins = (tau * BINS).long().clamp(0, BINS - 1)
    return [_mean(loss[bins == b]) for b in range(BINS)]


def _means(results: list[StepResult]) -> dict[str, float | None]:
    """The mean of each name that the objective logs, except tau, over the samples of the steps that log it."""
    names = dict.fromkeys(name for r in results for name in r.logged if name != "tau")
    return {name: _mean(torch.cat([r.logged[name] for r in results if name in r.logged])) for name in names}


def _mean(values: Tensor) -> float | None:
    return round(float(values.mean()), 5) if len(values) else None
