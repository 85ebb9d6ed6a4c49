"""Trains several runs in turn, in short slices, so that a machine which changes its speed favours none of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from ...training.step import Trainer

SLICE_STEPS, SLICE_SECONDS = 20, 10.0  # a slice ends at the first of the two
SHARE = 0.05  # largest share of a run limited by time that one slice takes


class InterleavedRun:
    """One run of an ablation, with the budget in optimiser steps or in seconds of training.

    Args:
        trainer: The run's trainer, at step 0.
        steps: Steps to make; None: limited by `limit`.
        limit: Seconds of training, data loading included.

    Attributes:
        seconds: Seconds of training so far.
        finite: Whether loss and gradient were finite at the end of each slice; if not, the run has ended.
    """

    def __init__(self, trainer: Trainer, steps: int | None, limit: float | None):
        self.trainer, self.steps, self.limit = trainer, steps, limit
        self.seconds, self.finite = 0.0, True
        self.slice_seconds = SLICE_SECONDS if limit is None else min(SLICE_SECONDS, SHARE * limit)

    @property
    def progress(self) -> float:
        """Completed share of the run, 0 to 1."""
        return self._progress(self.seconds)

    def _progress(self, seconds: float) -> float:
        if self.steps is not None:
            return min(1.0, self.trainer.step / self.steps)
        assert self.limit is not None
        return min(1.0, seconds / self.limit)

    @property
    def samples_per_s(self) -> float:
        """The training rate."""
        return self.trainer.step * self.trainer.train.batch / max(self.seconds, 1e-9)

    @property
    def done(self) -> bool:
        """Whether no further step is made."""
        return not self.finite or self.progress >= 1

    def warm_up(self) -> None:
        """Compute a gradient and discard it: the first one is slower. The weights do not change."""
        batch = self.trainer.data_of_steps[0].split(self.trainer.train.accumulate)[0]
        self.trainer.loss(batch).per_sample.sum().backward()
        self.trainer.optimizer.zero_grad(set_to_none=True)
        self._wait()

    def advance(self) -> int:
        """Train for one slice; the number of steps made."""
        first, result, started = self.trainer.step, None, time.perf_counter()
        for _ in range(SLICE_STEPS):
            spent = time.perf_counter() - started
            share = self._progress(self.seconds + spent)
            if share >= 1 or spent >= self.slice_seconds:
                break
            result = self.trainer.train_step(share)
        self._wait()
        self.seconds += time.perf_counter() - started
        if result is not None:
            self.finite = bool(torch.isfinite(result.loss + result.grad_norm))
        return self.trainer.step - first

    def _wait(self) -> None:
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize(self.trainer.device)
        elif self.trainer.device.type == "mps":
            torch.mps.synchronize()


def train_interleaved(runs: Sequence[InterleavedRun], report: Callable[[InterleavedRun, int], object]) -> None:
    """Train all runs to their ends, in turn; each round starts with another one.

    Args:
        runs: The runs.
        report: Called with a run and its new steps after each slice.
    """
    try:
        for run in runs:
            run.warm_up()
        turn = 0
        while any(not run.done for run in runs):
            for i in range(len(runs)):
                if not (run := runs[(turn + i) % len(runs)]).done:
                    report(run, run.advance())
            turn += 1
    finally:
        for run in runs:
            run.trainer.close()
