"""Autoguidance (Karras et al. 2024, "Guiding a diffusion model with a bad version of itself", arXiv:2406.02507)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..types import BadInput, Denoiser, Estimate, NoiseLevel
from .base import ALWAYS, CONDITIONAL, Guidance, GuidanceBranch, GuidanceInputs, SamplingRun, parse_window


class Autoguidance(Guidance):
    """Guides away from a weaker network: an earlier checkpoint, or a smaller network trained less, on the same data.

    x0 = D_weak + scale (D - D_weak), both with the same conditions, which may be none. Each network is called once.

    Args:
        scale: 1 is no guidance, above 1 moves further away from the weak network's errors.
        weak: Run folder or checkpoint of the weaker network.
        window: Lowest and highest noise level, as tau = sigma / (alpha + sigma), at which the guidance is applied.
        denoiser: The weaker network, given from Python instead of `weak`; an `AuxiliaryDenoiser` if it embeds
            conditions itself.
        opener: Loads `weak` for the current batch; set by the pipeline.

    Raises:
        BadInput: Both `weak` and `denoiser` are given, or neither.
    """

    needs_condition = False

    def __init__(
        self,
        scale: float = 2.0,
        weak: Path | None = None,
        window: tuple[float, float] = ALWAYS,
        denoiser: Denoiser | None = None,
        opener: Callable[[Path], Denoiser] | None = None,
    ):
        if (weak is None) == (denoiser is None):
            raise BadInput(
                "autoguidance needs one weaker network: `weak`, a run folder or checkpoint such as "
                "runs/NAME/checkpoints/step-1000.safetensors, or `denoiser` from Python"
            )
        self.scale, self.weak, self.window = float(scale), weak, parse_window(window, "autoguidance")
        self.denoiser, self.opener = denoiser, opener

    def begin(self, run: SamplingRun) -> Guidance:
        """A copy for one sampling run, with the weaker network loaded.

        Raises:
            BadInput: The network cannot be loaded or does not fit the run.
        """
        copied = super().begin(run)
        assert isinstance(copied, Autoguidance)
        if self.weak is not None and self.scale != 1:
            if self.opener is None:
                raise BadInput("autoguidance can load `weak` only if a trained run is sampled; here, give `denoiser`")
            copied.denoiser = self.opener(self.weak)
        return copied

    def branches(self, level: NoiseLevel) -> Sequence[GuidanceBranch]:
        return () if self.scale == 1 else (CONDITIONAL, GuidanceBranch(denoiser=self.denoiser))

    def combine(self, inputs: GuidanceInputs) -> Estimate:
        if self.scale == 1:
            return Estimate(inputs.guided)
        delta = inputs.estimates[CONDITIONAL] - inputs.estimates[GuidanceBranch(denoiser=self.denoiser)]
        return Estimate(torch.add(inputs.guided, delta, alpha=self.scale - 1))
