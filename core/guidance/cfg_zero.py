"""CFG-Zero* (Fan et al. 2025, arXiv:2503.18886) in x0 space.

The paper guides velocities of a flow: v = s v_null + scale (v_full - s v_null) with s = <v_full, v_null> / |v_null|^2,
and v = 0 in the first steps. With u = x / (alpha + sigma) every schedule is that flow, of velocity v = (u - D) / tau.
In terms of D = u - tau v:

    s v_null   is the velocity of   u + s (null - u),   the null estimate drawn towards u
    v = 0      is the velocity of   u
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import BadInput, Estimate, NoiseLevel, expand
from .base import ALWAYS, EDGE, FULL, NULL, Branch, Guidance, GuidanceInputs, checked_window, ratio


class CFGZero(Guidance):
    """CFG-Zero*: classifier-free guidance away from the null velocity at its best scale; rests at the start.

    x0 = null* + scale (full - null*), null* = u + s (null - u), u = x / (alpha + sigma)

    scale:  1 is no guidance, above 1 follows the condition more closely
    rest:   tau = sigma / (alpha + sigma) from which on the velocity is zero ("zero-init"): u stays as it is. 1: at pure
            noise alone, the first step of a flow, as in the paper; 0.96: its first 4 %; null: nowhere
    window: lowest and highest noise level, as tau, at which it acts
    """

    def __init__(self, scale: float = 1.5, rest: float | None = 1.0, window: tuple[float, float] = ALWAYS):
        if rest is not None and not 0 < rest <= 1:
            raise BadInput(f"cfg_zero's rest is a noise level tau above 0 and up to 1, or null, not {rest}")
        self.scale, self.rest, self.window = float(scale), rest, checked_window(window, "cfg_zero")

    def wants(self, level: NoiseLevel) -> Sequence[Branch]:
        return () if self.scale == 1 else (FULL, NULL)

    def combine(self, at: GuidanceInputs) -> Estimate:
        tau, u = at.level.tau, at.x / expand(at.level.alpha + at.level.sigma, at.x)
        # A truth value, or one for each element.
        rests = False if self.rest is None else tau >= self.rest - EDGE
        if rests is True:
            return Estimate(u)
        x0 = at.guided
        if self.scale != 1:
            full, null = at.estimates[FULL], at.estimates[NULL]
            v_full, v_null = (_velocity(u - D, expand(tau, u)) for D in (full, null))
            s = ratio(at.mean(v_full * v_null), at.mean(v_null * v_null))  # (B, 1, ..., 1)
            x0 = torch.add(x0, full - torch.lerp(u, null, s), alpha=self.scale - 1)
        return Estimate(torch.where(rests, u, x0) if isinstance(rests, Tensor) else x0)


def _velocity(away: Tensor, tau: float | Tensor) -> Tensor:
    """(u - D) / tau, but for a factor that is the same in the whole sample; 0 at clean elements."""
    if not isinstance(tau, Tensor):
        return away
    noisy = tau > 0
    return torch.where(noisy, away, 0.0) / torch.where(noisy, tau, 1.0)
