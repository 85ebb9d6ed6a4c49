"""What a plan of few evaluations is calibrated for: a schedule, and starts with their guided denoisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..guidance.base import Guided
from ..samplers.base import run
from ..samplers.plan import Plan
from ..schedulers.base import Schedule
from ..types import Conditioning, Denoiser


@dataclass(frozen=True)
class CalibrationBatch:
    """Starts that are solved together, as many as `sample` makes at a time.

    Attributes:
        denoiser: Guided, not called yet.
        start: (B, C, *spatial), points at the schedule's noisiest level.
        conditions: Conditioning of each row.
    """

    denoiser: Denoiser
    start: Tensor
    conditions: Conditioning

    def run(self, plan: Plan, watch: Callable[[Denoiser], Denoiser] = lambda denoiser: denoiser) -> Tensor:
        """The last point of a plan, (B, C, *spatial). What guidance remembers of one run does not enter another.

        Args:
            plan: The plan.
            watch: Wraps the denoiser for this run.
        """
        own = self.denoiser.anew() if isinstance(self.denoiser, Guided) else self.denoiser
        return run(plan, watch(own), self.start, self.conditions)


@dataclass(frozen=True)
class CalibrationProblem:
    """A schedule, and batches of starts at its noisiest level with their denoisers.

    The more starts, the better a plan holds for other seeds.

    Attributes:
        schedule: The noise schedule.
        batches: The starts.
    """

    schedule: Schedule
    batches: tuple[CalibrationBatch, ...]

    @property
    def start(self) -> Tensor:
        """All starts, (B, C, *spatial)."""
        return torch.cat([batch.start for batch in self.batches])

    def end(self, plan: Plan) -> Tensor:
        """The last points of a plan, (B, C, *spatial)."""
        return torch.cat([batch.run(plan) for batch in self.batches])

    def error(self, x0: Tensor, exact: Tensor) -> float:
        """Root mean square over samples and elements."""
        return float((x0 - exact).double().square().mean().sqrt())
