"""DDPM: ancestral sampling from the posterior (Ho et al. 2020, arXiv:2006.11239, algorithm 2, eq. 6 and 7).

x_t ~ q(x_t | x_s, x0 = D), a Gaussian whose mean is a combination of x_s and D
"""

from __future__ import annotations

from typing import Literal

from ..types import BadInput
from ._coefficients import first_order_step
from ._numbers import safe_sqrt, select_by_mask
from .base import PlanBuilder, PlannedSampler


class DDPM(PlannedSampler):
    """DDPM: a sample of the posterior q(x_t | x_s, x0 = D) at every step.

    As a first-order step: sigma_d = sigma_t q with q = sigma_t alpha_s / (alpha_t sigma_s). With a = alpha_s / alpha_t,
    the variance of the new noise is
    small: (sigma_t / sigma_s)^2 (sigma_s^2 - a^2 sigma_t^2), the variance of the posterior: keeps the marginal
    large: sigma_s^2 - a^2 sigma_t^2, the variance of the forward step: an upper bound, noisier than the marginal

    Args:
        variance: `small` or `large`.
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
            sigma_d = t.sigma * (t.sigma * s.alpha / (t.alpha * s.sigma))
            if self.variance == "small":
                x = builder.step(first_order_step(builder, x, D, s, t, sigma_d, ("step", i)), t)
                continue
            ratio = sigma_d / s.sigma
            sigma_back = s.alpha / t.alpha * t.sigma
            std = safe_sqrt(s.sigma * s.sigma - sigma_back * sigma_back)
            std = select_by_mask(t.sigma > 0, std, 0.0)  # the last step adds no noise
            x = builder.step(x * ratio + D * (t.alpha - s.alpha * ratio) + builder.noise(("step", i)) * std, t)
