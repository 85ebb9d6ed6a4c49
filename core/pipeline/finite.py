"""An estimate that is not finite is named with its step, without waiting for the device during the run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel


class FiniteCheck(Denoiser):
    """A denoiser whose estimates are remembered as one number each, so that one that is not finite can be named.

    The numbers stay on the device until the run ends: nothing waits for them.

    Args:
        denoiser: The denoiser.
    """

    def __init__(self, denoiser: Denoiser):
        self.denoiser = denoiser
        self._sums: list[tuple[NoiseLevel, Tensor]] = []

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The denoiser's own estimate."""
        estimate = self.denoiser.denoise(x, level, conditions)
        self._sums.append((level, estimate.x0.detach().sum(dtype=torch.float32)))
        return estimate

    def check(self, levels: Sequence[NoiseLevel]) -> None:
        """Raise BadInput that names the first estimate that is not finite, if there is one.

        Args:
            levels: Those of the run: they say which step an estimate belongs to.
        """
        for call, (level, total) in enumerate(self._sums, 1):
            if not bool(torch.isfinite(total)):
                raise BadInput(
                    f"the network's estimate is not finite in {_place(call, level, levels)}: check its weights, its "
                    "precision (float16 overflows), and that the parameterization is the one it was trained with"
                )


def _place(call: int, level: NoiseLevel, levels: Sequence[NoiseLevel]) -> str:
    """The step, evaluation and time, where levels are numbers; the evaluation alone where they are maps."""
    if any(isinstance(v, Tensor) and v.ndim for each in (level, *levels) for v in (each.alpha, each.sigma)):
        return f"evaluation {call}"
    step = sum(float(each.tau) >= float(level.tau) for each in levels[:-1])
    return f"step {step} of {len(levels) - 1} (evaluation {call}, at t = {float(level.t):g})"
