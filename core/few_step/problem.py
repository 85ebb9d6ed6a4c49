"""The problem for which a plan is calibrated: a noise schedule, and initial states with their guided denoisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..guidance.base import GuidedDenoiser
from ..samplers.base import run_plan
from ..samplers.plan import Plan
from ..schedulers.base import Schedule
from ..types import Conditioning, Denoiser


@dataclass(frozen=True)
class CalibrationBatch:
    """Initial states that are solved together, in batches as in sampling.

    Attributes:
        denoiser: The guided denoiser.
        start: Initial states at the highest noise level of the schedule, (B, C, *spatial).
        conditions: Conditioning of each row.
    """

    denoiser: Denoiser
    start: Tensor
    conditions: Conditioning

    def run(self, plan: Plan, watch: Callable[[Denoiser], Denoiser] = lambda denoiser: denoiser) -> Tensor:
        """Run a plan and return its result (B, C, *spatial); the state of guidance is reset for every run.

        Args:
            plan: The plan.
            watch: Wraps the denoiser for this run.
        """
        denoiser = self.denoiser.fresh_copy() if isinstance(self.denoiser, GuidedDenoiser) else self.denoiser
        return run_plan(plan, watch(denoiser), self.start, self.conditions)


@dataclass(frozen=True)
class CalibrationProblem:
    """A noise schedule, and batches of initial states at its highest noise level with their denoisers.

    With more initial states a plan generalizes better to other seeds.

    Attributes:
        schedule: The noise schedule.
        batches: The initial states.
    """

    schedule: Schedule
    batches: tuple[CalibrationBatch, ...]

    @property
    def start(self) -> Tensor:
        """All initial states, (B, C, *spatial)."""
        return torch.cat([batch.start for batch in self.batches])

    def final_states(self, plan: Plan) -> Tensor:
        """The results of a plan from all initial states, (B, C, *spatial)."""
        return torch.cat([batch.run(plan) for batch in self.batches])

    def error(self, x0: Tensor, exact: Tensor) -> float:
        """Root mean square difference over samples and elements."""
        return float((x0 - exact).double().square().mean().sqrt())
