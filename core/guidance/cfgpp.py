"""CFG++ (Chung et al. 2025, arXiv:2406.08070, algorithm 2), on any schedule and sampler.

The paper's DDIM step denoises with the guided estimate D and renoises with the null one:

    x_t = alpha_t D + sigma_t eps_null,    eps_null = (x_s - alpha_s D_null) / sigma_s

An ordinary step from a point y with estimate D is x_t = alpha_t D + sigma_t (y - alpha_s D) / sigma_s. The two agree
where y - alpha_s D = x_s - alpha_s D_null, so CFG++ is an ordinary step from

    y = x_s + alpha_s (D - D_null)

whatever alpha, sigma and the sampler are; at alpha_s = 0 nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import Estimate, NoiseLevel, expand
from .base import ALWAYS, FULL, NULL, Branch, Guidance, GuidanceInputs, checked_window


class CFGpp(Guidance):
    """CFG++: denoises with the guided estimate and renoises with the null one, so that small scales suffice.

    x0 = null + scale (full - null), and the step starts from x + alpha (x0 - null). In a list it stands last; there,
    scale 1 takes the estimate of the others as it is.

    scale:  the paper's lambda, 0 to 1, with about the effect of cfg's scales from 1 to 12.5; 0 ignores the condition
    window: lowest and highest noise level, as tau = sigma / (alpha + sigma), at which it acts
    """

    moves = True

    def __init__(self, scale: float = 0.6, window: tuple[float, float] = ALWAYS):
        self.scale, self.window = float(scale), checked_window(window, "cfgpp")

    def wants(self, level: NoiseLevel) -> Sequence[Branch]:
        return (NULL,) if self.scale == 1 else (FULL, NULL)

    def combine(self, at: GuidanceInputs) -> Estimate:
        x0, null = at.guided, at.estimates[NULL]
        if self.scale != 1:
            x0 = torch.add(x0, at.estimates[FULL] - null, alpha=self.scale - 1)
        shift = expand(at.level.alpha, at.x) * (x0 - null)
        if isinstance(at.level.sigma, Tensor):  # a clean element has no noise to exchange
            shift = torch.where(at.level.sigma > 0, shift, 0.0)
        return Estimate(x0, at.x + shift)
