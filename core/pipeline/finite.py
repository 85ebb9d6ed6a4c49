"""Finds the first non-finite estimate of a network and reports its step, without synchronizing the device per step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel


class FiniteCheck(Denoiser):
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

    def check(self, levels: Sequence[NoiseLevel]) -> None:
        """Check all estimates so far.

        Args:
            levels: The noise levels of the run, which assign an estimate to a step.

        Raises:
            BadInput: An estimate is not finite; the message names the first one.
        """
        for call, (level, total) in enumerate(self._sums, 1):
            if not bool(torch.isfinite(total)):
                raise BadInput(
                    f"the network's estimate is not finite in {_place(call, level, levels)}: check its weights, its "
                    "precision (float16 overflows), and that the parameterization is the one it was trained with"
                )


def _place(call: int, level: NoiseLevel, levels: Sequence[NoiseLevel]) -> str:
    """Step, evaluation and time as text; only the evaluation if levels are maps."""
    if any(isinstance(v, Tensor) and v.ndim for each in (level, *levels) for v in (each.alpha, each.sigma)):
        return f"evaluation {call}"
    step = sum(float(each.tau) >= float(level.tau) for each in levels[:-1])
    return f"step {step} of {len(levels) - 1} (evaluation {call}, at t = {float(level.t):g})"
