"""Autoguidance (Karras et al. 2024, "Guiding a diffusion model with a bad version of itself", arXiv:2406.02507)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..types import BadInput, Denoiser, Estimate, NoiseLevel
from .base import ALWAYS, FULL, Branch, Guidance, GuidanceInputs, Run, checked_window


class Autoguidance(Guidance):
    """Pushes away from a weaker network: an earlier checkpoint, or a smaller network trained less, on the same data.

    x0 = weak + scale (full - weak), both told the conditions; it needs none. Each network is called once.

    scale:    1 is no guidance, above 1 goes further from the weak network's faults
    weak:     run folder or checkpoint of the weaker network
    window:   lowest and highest noise level, as tau = sigma / (alpha + sigma), at which it acts
    denoiser: the weaker network from Python, in place of `weak`; `Beside` where it embeds conditions its own way
    opener:   opens `weak` for the batch at hand; given by what samples a run
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
        self.scale, self.weak, self.window = float(scale), weak, checked_window(window, "autoguidance")
        self.denoiser, self.opener = denoiser, opener

    def begin(self, run: Run) -> Guidance:
        """A copy for one run, the weaker network open. Raises BadInput where it cannot be opened or does not suit."""
        own = super().begin(run)
        assert isinstance(own, Autoguidance)
        if self.weak is not None and self.scale != 1:
            if self.opener is None:
                raise BadInput("autoguidance opens `weak` where a trained run is sampled; here, give `denoiser`")
            own.denoiser = self.opener(self.weak)
        return own

    def wants(self, level: NoiseLevel) -> Sequence[Branch]:
        return () if self.scale == 1 else (FULL, Branch(denoiser=self.denoiser))

    def combine(self, at: GuidanceInputs) -> Estimate:
        if self.scale == 1:
            return Estimate(at.guided)
        push = at.estimates[FULL] - at.estimates[Branch(denoiser=self.denoiser)]
        return Estimate(torch.add(at.guided, push, alpha=self.scale - 1))
