"""Training budget (steps or wall-clock time), and the learning rate: linear warm-up, then cosine decay."""

from __future__ import annotations

import math
import time

from ..config.sections import TrainSection
from ..util.messages import format_command


class TrainingBudget:
    """Progress of a run. The wall-clock time of a resumed run includes the time before it was resumed.

    Args:
        train: The recipe's section `train`.
        elapsed: Seconds spent before the run was resumed.

    Attributes:
        reserve: Seconds reserved for the work after the last step, in a run limited by minutes.
    """

    def __init__(self, train: TrainSection, elapsed: float = 0.0):
        self.train, self._before, self._started = train, elapsed, time.monotonic()
        self.reserve = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds spent on this run so far, in wall-clock time."""
        return self._before + time.monotonic() - self._started

    def progress(self, step: int) -> float:
        """Completed fraction of the run, 0 to 1, by steps or by minutes."""
        if self.train.steps is not None:
            return min(1.0, step / self.train.steps)
        assert self.train.minutes is not None
        return min(1.0, self.elapsed / max(1e-9, 60 * self.train.minutes - self.reserve))

    def seconds_left(self, step: int) -> float | None:
        """Seconds to the end of a run limited by minutes; None if it is limited by steps."""
        return None if self.train.minutes is None else (1 - self.progress(step)) * 60 * self.train.minutes

    def shortfall(self, step: int, folder: object) -> str | None:
        """Message for a run limited by minutes that made fewer steps than the recipe's stated quality needs.

        Args:
            step: Optimiser steps made.
            folder: The run folder.

        Returns:
            One line with the remedy; None if the run made enough steps or the recipe states no number.
        """
        measured, minutes = self.train.measured_steps, self.train.minutes
        if measured is None or minutes is None or self.train.steps is not None or not 0 < step < measured:
            return None
        needed = math.ceil(minutes * measured / step)
        return (
            f"{step} steps were made, and the quality that the recipe states was measured at {measured}: samples may "
            f"be worse. To continue: {format_command('sonolux', 'train', '--resume', folder)} train.minutes={needed}"
        )


def learning_rate(train: TrainSection, base: float, step: int, progress: float) -> float:
    """Learning rate of optimiser step `step` (from 0): base min(1, (step + 1) / warmup) (1 + cos(pi progress)) / 2."""
    rate = base * min(1.0, (step + 1) / max(1, train.warmup))
    return rate * 0.5 * (1 + math.cos(math.pi * progress)) if train.decay == "cosine" else rate
