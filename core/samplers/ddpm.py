"""DDPM: the ancestral sampler, step by step through the posterior (Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7)."""

from __future__ import annotations

from typing import Literal

from ..types import BadInput
from ._coefficients import first_order
from ._numbers import root, where
from .base import PlanBuilder, PlannedSampler


class DDPM(PlannedSampler):
    """DDPM: a draw from the posterior q(x_t | x_s, x0 = D) at every step.

    In the first-order form sigma_d = sigma_t q with q = sigma_t alpha_s / (alpha_t sigma_s); a = alpha_s / alpha_t:
    small: variance (sigma_t / sigma_s)^2 (sigma_s^2 - a^2 sigma_t^2), the posterior's: the marginal is kept
    large: variance sigma_s^2 - a^2 sigma_t^2, the forward step's: an upper bound, noisier than the marginal

    Args:
        variance: small or large.
    """

    stochastic = True

    def __init__(self, variance: Literal["small", "large"] = "small"):
        if variance not in ("small", "large"):
            raise BadInput(f"ddpm's variance is small or large, not {variance!r}")
        self.variance, self.keeps_marginal = variance, variance == "small"

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for i, (s, t) in enumerate(builder.pairs()):
            D = builder.denoise(x)
            kept = t.sigma * (t.sigma * s.alpha / (t.alpha * s.sigma))
            if self.variance == "small":
                x = builder.step(first_order(builder, x, D, s, t, kept, ("step", i)), t)
                continue
            ratio = kept / s.sigma
            back = s.alpha / t.alpha * t.sigma
            fresh = root(s.sigma * s.sigma - back * back)
            fresh = where(t.sigma > 0, fresh, 0.0)  # the last step adds no noise
            x = builder.step(x * ratio + D * (t.alpha - s.alpha * ratio) + builder.noise(("step", i)) * fresh, t)
