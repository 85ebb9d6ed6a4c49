"""How large a step the optimiser takes: warm-up, then a cosine down to nothing, over steps or over wall-clock time."""

from __future__ import annotations

import math
import time

from ..config.sections import Train


class TrainingBudget:
    """How far a run has come. `elapsed` counts wall-clock seconds over all its parts: a resumed run goes on.

    train:    the recipe's section
    elapsed:  seconds already spent before this part
    """

    def __init__(self, train: Train, elapsed: float = 0.0):
        self.train, self._before, self._started = train, elapsed, time.monotonic()
        self.reserve = 0.0  # seconds kept back for the last preview and checkpoint

    @property
    def elapsed(self) -> float:
        """Seconds of wall clock spent on this run so far."""
        return self._before + time.monotonic() - self._started

    def progress(self, step: int) -> float:
        """Share of the run that is done, 0 to 1, by steps or by minutes."""
        if self.train.steps is not None:
            return min(1.0, step / self.train.steps)
        assert self.train.minutes is not None
        return min(1.0, self.elapsed / max(1e-9, 60 * self.train.minutes - self.reserve))


def learning_rate(train: Train, base: float, step: int, progress: float) -> float:
    """The rate of optimiser step `step` (from 0): base min(1, (step + 1) / warmup) (1 + cos(pi progress)) / 2."""
    rate = base * min(1.0, (step + 1) / max(1, train.warmup))
    return rate * 0.5 * (1 + math.cos(math.pi * progress)) if train.decay == "cosine" else rate
