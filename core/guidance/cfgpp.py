"""CFG++ (Chung et al. 2025, arXiv:2406.08070, algorithm 2), on any schedule and sampler.

The paper's DDIM step denoises with the guided estimate D and renoises with the unconditional one D_u:

    x_t = alpha_t D + sigma_t eps_u,    eps_u = (x_s - alpha_s D_u) / sigma_s

An ordinary step from a point y with estimate D is x_t = alpha_t D + sigma_t (y - alpha_s D) / sigma_s. The two are
equal if y - alpha_s D = x_s - alpha_s D_u, so CFG++ is an ordinary step from

    y = x_s + alpha_s (D - D_u)

for any schedule and sampler; at alpha_s = 0, y = x_s.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import Estimate, NoiseLevel, broadcast_like
from .base import ALWAYS, CONDITIONAL, UNCONDITIONAL, Guidance, GuidanceBranch, GuidanceInputs, parse_window


class CFGpp(Guidance):
    """CFG++: denoises with the guided estimate and renoises with the unconditional one, so that small scales suffice.

    x0 = D_u + scale (D_c - D_u), and the step starts from x + alpha (x0 - D_u). In a list it must be last; there, scale
    1 uses the estimate of the other guidances unchanged.

    Args:
        scale: The paper's lambda, 0 to 1, with about the effect of cfg's scales from 1 to 12.5; 0 ignores the
            condition.
        window: Lowest and highest noise level, as tau = sigma / (alpha + sigma), at which the guidance is applied.

    Raises:
        BadInput: The window is not an interval in [0, 1].
    """

    moves = True

    def __init__(self, scale: float = 0.6, window: tuple[float, float] = ALWAYS):
        self.scale, self.window = float(scale), parse_window(window, "cfgpp")

    def branches(self, level: NoiseLevel) -> Sequence[GuidanceBranch]:
        return (UNCONDITIONAL,) if self.scale == 1 else (CONDITIONAL, UNCONDITIONAL)

    def combine(self, inputs: GuidanceInputs) -> Estimate:
        x0, unconditional = inputs.guided, inputs.estimates[UNCONDITIONAL]
        if self.scale != 1:
            x0 = torch.add(x0, inputs.estimates[CONDITIONAL] - unconditional, alpha=self.scale - 1)
        shift = broadcast_like(inputs.level.alpha, inputs.x) * (x0 - unconditional)
        if isinstance(inputs.level.sigma, Tensor):  # clean elements have no noise to replace
            shift = torch.where(inputs.level.sigma > 0, shift, 0.0)
        return Estimate(x0, inputs.x + shift)
