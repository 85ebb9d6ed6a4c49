"""Rescaled guidance in x0 space.

Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", arXiv:2305.08891, eq. 14 to 16.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..types import BadInput, Estimate, NoiseLevel
from .base import ALWAYS, CONDITIONAL, Guidance, GuidanceBranch, GuidanceInputs, parse_window, safe_ratio


class Rescale(Guidance):
    """Rescales a guided estimate to the standard deviation of the conditional one, D_c; comes after cfg, apg, ...

    rescaled = guided std(D_c) / std(guided)         eq. 15; std over the valid elements of each sample
    x0 = phi rescaled + (1 - phi) guided             eq. 16

    Args:
        phi: Share of the rescaled estimate, 0 to 1; the paper's choice is 0.7.
        window: Lowest and highest noise level, as tau = sigma / (alpha + sigma), at which the guidance is applied.

    Raises:
        BadInput: `phi` is not in [0, 1], or the window is not an interval in [0, 1].
    """

    needs_condition = False

    def __init__(self, phi: float = 0.7, window: tuple[float, float] = ALWAYS):
        if not 0 <= phi <= 1:
            raise BadInput(f"rescale's phi is a share from 0 to 1, not {phi}")
        self.phi, self.window = float(phi), parse_window(window, "rescale")

    def branches(self, level: NoiseLevel) -> Sequence[GuidanceBranch]:
        return (CONDITIONAL,)

    def combine(self, inputs: GuidanceInputs) -> Estimate:
        # (B, 1, ..., 1)
        factor = safe_ratio(inputs.variance(inputs.estimates[CONDITIONAL]), inputs.variance(inputs.guided)).sqrt()
        return Estimate(inputs.guided * (self.phi * factor + (1 - self.phi)))
