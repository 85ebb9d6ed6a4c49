"""DDPM: the ancestral sampler, step by step through the posterior (Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7)."""

from __future__ import annotations

from typing import Literal

import torch

from ..types import BadInput
from ._coefficients import first_order
from .base import PlanBuilder, Sampler


class DDPM(Sampler):
    """DDPM: a draw from the posterior q(x_t | x_s, x0 = D) at every step.

    In the first-order form sigma_d = sigma_t q with q = sigma_t alpha_s / (alpha_t sigma_s); a = alpha_s / alpha_t:
    small: variance (sigma_t / sigma_s)^2 (sigma_s^2 - a^2 sigma_t^2), the posterior's: the marginal is kept
    large: variance sigma_s^2 - a^2 sigma_t^2, the forward step's: an upper bound, noisier than the marginal

    variance: small or large
    """

    stochastic = True

    def __init__(self, variance: Literal["small", "large"] = "small"):
        if variance not in ("small", "large"):
            raise BadInput(f"ddpm's variance is small or large, not {variance!r}")
        self.variance, self.keeps_marginal = variance, variance == "small"

    def draft(self, draft: PlanBuilder) -> None:
        x = draft.start()
        for i, (s, t) in enumerate(draft.pairs()):
            D = draft.denoise(x)
            kept = t.sigma * (t.sigma * s.alpha / (t.alpha * s.sigma))
            if self.variance == "small":
                x = draft.step(first_order(draft, x, D, s, t, kept, ("step", i)), t)
                continue
            ratio = kept / s.sigma
            fresh = (s.sigma**2 - (s.alpha / t.alpha) ** 2 * t.sigma**2).clamp(min=0) ** 0.5
            fresh = torch.where(t.sigma > 0, fresh, 0.0)  # the last step adds no noise
            x = draft.step(ratio * x + (t.alpha - s.alpha * ratio) * D + fresh * draft.noise(("step", i)), t)
