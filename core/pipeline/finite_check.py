"""Finds the first non-finite estimate of a network and reports its step, without synchronizing the device per step."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from ..samplers.base import Plan
from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel


class FiniteCheckDenoiser(Denoiser):
    """A denoiser that stores the sum of each estimate, so that the first non-finite one can be reported.

    The sums stay on the device until `check`: no step waits for them.

    Args:
        denoiser: The denoiser to check.
    """

    def __init__(self, denoiser: Denoiser):
        self.denoiser = denoiser
        self._sums: list[tuple[NoiseLevel, Tensor]] = []

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The estimate of the wrapped denoiser."""
        estimate = self.denoiser.denoise(x, level, conditions)
        self._sums.append((level, estimate.x0.detach().sum(dtype=torch.float32)))
        return estimate

    def check(self, plan: Plan | None) -> None:
        """Check all estimates of a finished run.

        Args:
            plan: The plan of the run, whose rows assign an estimate to a step; None: an adaptive sampler had none.

        Raises:
            BadInput: An estimate is not finite; the message names the first one.
        """
        for call, (level, total) in enumerate(self._sums):
            if not bool(torch.isfinite(total)):
                raise BadInput(
                    f"the network's estimate is not finite in {self._place(call, level, plan)}: check its weights, its "
                    "precision (float16 overflows), and that the parameterization is the one it was trained with"
                )

    def _place(self, call: int, level: NoiseLevel, plan: Plan | None) -> str:
        """Step, evaluation and time as text; no step if the calls are not those of a plan, no time if it is a map."""
        known = not isinstance(level.t, Tensor) or level.t.ndim == 0
        place = f"evaluation {call + 1}" + (f", at t = {float(level.t):g}" if known else "")
        if plan is None or plan.nfe != len(self._sums):
            return place
        steps = list(accumulate(row.step for row in plan.rows))  # finished when the row is computed
        finished = [done for row, done in zip(plan.rows, steps, strict=True) if row.evaluate][call]
        return f"step {min(finished + 1, steps[-1])} of {steps[-1]} ({place})"
