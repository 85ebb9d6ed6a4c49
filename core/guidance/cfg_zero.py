"""CFG-Zero* (Fan et al. 2025, arXiv:2503.18886) in x0 space.

The paper guides the velocities of a flow: v = s v_u + scale (v_c - s v_u) with s = <v_c, v_u> / |v_u|^2, the
conditional velocity v_c and the unconditional one v_u; in the first steps v = 0. With u = x / (alpha + sigma) every
schedule is such a flow, with velocity v = (u - D) / tau. In terms of D = u - tau v:

    s v_u   is the velocity of   u + s (D_u - u), the unconditional estimate moved towards u
    v = 0   is the velocity of   u
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import BadInput, Estimate, NoiseLevel, broadcast_like
from .base import (
    ALWAYS,
    CONDITIONAL,
    EDGE,
    UNCONDITIONAL,
    Guidance,
    GuidanceBranch,
    GuidanceInputs,
    parse_window,
    safe_ratio,
)


class CFGZero(Guidance):
    """CFG-Zero*: guidance away from the optimally scaled unconditional velocity, with zero velocity at the start.

    x0 = D_u* + scale (D_c - D_u*), D_u* = u + s (D_u - u), u = x / (alpha + sigma)

    Args:
        scale: 1 is no guidance, above 1 follows the condition more closely.
        rest: Noise level tau = sigma / (alpha + sigma) at and above which the velocity is zero ("zero-init"), so that u
            does not change. 1: only at pure noise, the first step of a flow, as in the paper; 0.96: the first 4 % of
            the flow; null: never.
        window: Lowest and highest noise level, as tau, at which the guidance is applied.

    Raises:
        BadInput: `rest` is not a noise level, or the window is not an interval in [0, 1].
    """

    def __init__(self, scale: float = 1.5, rest: float | None = 1.0, window: tuple[float, float] = ALWAYS):
        if rest is not None and not 0 < rest <= 1:
            raise BadInput(f"cfg_zero's rest is a noise level tau above 0 and up to 1, or null, not {rest}")
        self.scale, self.rest, self.window = float(scale), rest, parse_window(window, "cfg_zero")

    def branches(self, level: NoiseLevel) -> Sequence[GuidanceBranch]:
        return () if self.scale == 1 else (CONDITIONAL, UNCONDITIONAL)

    def combine(self, inputs: GuidanceInputs) -> Estimate:
        tau, u = inputs.level.tau, inputs.x / broadcast_like(inputs.level.alpha + inputs.level.sigma, inputs.x)
        # A bool, or one for each element.
        rests = False if self.rest is None else tau >= self.rest - EDGE
        if rests is True:
            return Estimate(u)
        x0 = inputs.guided
        if self.scale != 1:
            conditional, unconditional = inputs.estimates[CONDITIONAL], inputs.estimates[UNCONDITIONAL]
            v_c, v_u = (_velocity(u - D, broadcast_like(tau, u)) for D in (conditional, unconditional))
            s = safe_ratio(inputs.mean(v_c * v_u), inputs.mean(v_u * v_u))  # (B, 1, ..., 1)
            x0 = torch.add(x0, conditional - torch.lerp(u, unconditional, s), alpha=self.scale - 1)
        return Estimate(torch.where(rests, u, x0) if isinstance(rests, Tensor) else x0)


def _velocity(away: Tensor, tau: float | Tensor) -> Tensor:
    """(u - D) / tau, up to a factor that is constant in each sample; 0 at clean elements."""
    if not isinstance(tau, Tensor):
        return away
    noisy = tau > 0
    return torch.where(noisy, away, 0.0) / torch.where(noisy, tau, 1.0)
