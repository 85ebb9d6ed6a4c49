"""Adaptive projected guidance (Sadat et al. 2025, arXiv:2410.02416, algorithm 1) in x0 space, as in the paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import BadInput, Estimate, NoiseLevel
from .base import ALWAYS, CONDITIONAL, UNCONDITIONAL, Guidance, GuidanceBranch, GuidanceInputs, parse_window, safe_ratio


class APG(Guidance):
    """Adaptive projected guidance: high scales without oversaturation.

    delta = D_c - D_u + momentum (delta of the previous call)
    delta = delta min(1, threshold / rms(delta))
    delta = orthogonal + eta parallel, the components orthogonal and parallel to D_c
    x0 = guided + (scale - 1) delta

    D_c is the conditional and D_u the unconditional estimate. Means and products are over the valid elements of each
    sample. Gradients treat the delta of the previous call as a constant.

    Args:
        scale: 1 is no guidance, above 1 follows the condition more closely.
        eta: Factor of the parallel component, which causes oversaturation, 0 to 1. 1 is classifier-free guidance.
        threshold: Largest root mean square of the delta, in units of the diffused tensor; null: none. The paper's r is
            a norm, threshold times the root of the number of elements: 15 on 4 x 128 x 128 latents is 0.06.
        momentum: Factor of the previous call's delta, between -1 and 1; a negative value opposes it.
        window: Lowest and highest noise level, as tau = sigma / (alpha + sigma), at which the guidance is applied.

    Raises:
        BadInput: An option is out of range.
    """

    def __init__(
        self,
        scale: float = 3.0,
        eta: float = 0.0,
        threshold: float | None = None,
        momentum: float = -0.5,
        window: tuple[float, float] = ALWAYS,
    ):
        if threshold is not None and not threshold > 0:
            raise BadInput(f"apg's threshold is above 0, or null for none, not {threshold}")
        if not -1 < momentum < 1:
            raise BadInput(f"apg's momentum is between -1 and 1, or the delta grows without limit, not {momentum}")
        self.scale, self.eta, self.threshold, self.momentum = float(scale), float(eta), threshold, float(momentum)
        self.window, self.stateful = parse_window(window, "apg"), momentum != 0
        self._delta: Tensor | None = None  # of the previous call

    def branches(self, level: NoiseLevel) -> Sequence[GuidanceBranch]:
        return () if self.scale == 1 else (CONDITIONAL, UNCONDITIONAL)

    def combine(self, inputs: GuidanceInputs) -> Estimate:
        if self.scale == 1:
            return Estimate(inputs.guided)
        conditional = inputs.estimates[CONDITIONAL]
        delta = self._limited(inputs, self._with_momentum(inputs, conditional - inputs.estimates[UNCONDITIONAL]))
        share = safe_ratio(inputs.mean(delta * conditional), inputs.mean(conditional * conditional))  # (B, 1, ..., 1)
        delta = delta - (1 - self.eta) * share * conditional
        return Estimate(torch.add(inputs.guided, delta, alpha=self.scale - 1))

    def _with_momentum(self, inputs: GuidanceInputs, delta: Tensor) -> Tensor:
        """Add the momentum to the delta; elements outside the window keep their previous delta."""
        if self.momentum == 0:
            return delta
        before = torch.zeros_like(delta) if self._delta is None else self._delta
        delta = delta + self.momentum * before
        if inputs.counts is not None:
            delta = torch.where(inputs.counts > 0, delta, before)
        self._delta = delta.detach()
        return delta

    def _limited(self, inputs: GuidanceInputs, delta: Tensor) -> Tensor:
        if self.threshold is None:
            return delta
        square = inputs.mean(delta * delta)
        above = square > self.threshold**2
        return delta * torch.where(above, self.threshold * torch.where(above, square, 1.0).rsqrt(), 1.0)
