"""How long a run is, in steps or in wall-clock time, and the learning rate that follows: warm-up, then a cosine."""

from __future__ import annotations

import math
import time

from ..config.sections import Train


class TrainingBudget:
    """How far a run has come. `elapsed` counts wall-clock seconds over all its parts: a resumed run goes on.

    Args:
        train: the recipe's section.
        elapsed: seconds already spent before this part.

    Attributes:
        reserve: seconds of a run of minutes that are kept back for what is done after the last step.
    """

    def __init__(self, train: Train, elapsed: float = 0.0):
        self.train, self._before, self._started = train, elapsed, time.monotonic()
        self.reserve = 0.0

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

    def seconds_left(self, step: int) -> float | None:
        """Seconds to the end of a run of minutes; None where the run is counted in steps."""
        return None if self.train.minutes is None else (1 - self.progress(step)) * 60 * self.train.minutes

    def shortfall(self, step: int, folder: object) -> str | None:
        """What a run of minutes that ended at `step` may lack, in one line, and how to go on.

        None where it reached the steps that the recipe's quality was measured at, or the recipe states none.
        """
        measured, minutes = self.train.measured_steps, self.train.minutes
        if measured is None or minutes is None or self.train.steps is not None or not 0 < step < measured:
            return None
        needed = math.ceil(minutes * measured / step)
        return (
            f"{step} steps were made, and the quality that the recipe states was measured at {measured}: samples may "
            f"be worse. To go on: sonolux train --resume {folder} train.minutes={needed}"
        )


def learning_rate(train: Train, base: float, step: int, progress: float) -> float:
    """The rate of optimiser step `step` (from 0): base min(1, (step + 1) / warmup) (1 + cos(pi progress)) / 2."""
    rate = base * min(1.0, (step + 1) / max(1, train.warmup))
    return rate * 0.5 * (1 + math.cos(math.pi * progress)) if train.decay == "cosine" else rate
