"""SDE-DPM-Solver++ with two stages per step (Lu et al. 2022, arXiv:2211.01095, section 4 and appendix).

x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t (1 - e^(-(1 + eta) h)) (D_s + (D_m - D_s) / (2 r)) + n_st

The form of k-diffusion's `sample_dpmpp_sde`, with the noise of the SDE at every eta: the noise of the step is composed
of the noise of its two parts, as in the SDE.
"""

from __future__ import annotations

from itertools import pairwise

from ..types import BadInput
from ._coefficients import lambda_step
from ._noise_keys import NoiseKind, check_noise_kind, step_noise_keys
from ._numbers import any_true, safe_sqrt
from ._shared_steps import kept_noise_share
from ._stages import has_finite_lambda, stage_levels_in_lambda
from .base import PlanBuilder, PlannedSampler


class DPMppSDE(PlannedSampler):
    """The stochastic DPM-Solver++ with two stages: single-step, two evaluations per step.

    x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t (1 - e^(-(1 + eta) h)) (D_s + (D_m - D_s) / (2 r)) + n_st, h =
    lambda_t - lambda_s, where D_m is the estimate at the point x_m, the result of a first-order step to lambda_s + r h.
    The noise is n_st = (sigma_t / sigma_m) e^(-eta h_mt) n_sm + n_mt, n_ab = sigma_b sqrt(1 - e^(-2 eta h_ab)) z_ab;
    x_m contains n_sm.

    One evaluation and first order in steps from alpha_s = 0 and to sigma_t = 0, where h is infinite.

    Args:
        eta: Strength of the noise: 0 is dpmpp_2s, 1 is the reverse SDE.
        r: Position of the second estimate, as a fraction of the step in lambda.
        noise: `path`: increments of one Brownian path in tau, so a seed gives the same noise path at any number of
            steps; `step`: independent noise at every step.
    """

    def __init__(self, eta: float = 1.0, r: float = 0.5, noise: NoiseKind = "path"):
        if eta < 0:
            raise BadInput(f"dpmpp_sde's eta is at least 0, not {eta}")
        if not 0 < r < 1:
            raise BadInput(f"dpmpp_sde evaluates inside the step: r lies between 0 and 1, not {r}")
        check_noise_kind("dpmpp_sde", noise)
        self.eta, self.r, self.noise, self.stochastic = eta, r, noise, eta > 0
        self.order = None if self.stochastic else 2

    def draft(self, builder: PlanBuilder) -> None:
        x, parts = builder.start(), [builder.levels[0]]
        middles = stage_levels_in_lambda(builder, builder.pairs(), self.r, else_on_tau=self.r)
        for m, t in zip(middles, builder.levels[1:], strict=True):
            parts += [m, t]
        keys = step_noise_keys(parts, self.noise)
        for i, (s, t) in enumerate(pairwise(parts[::2])):
            m, D, inside = parts[2 * i + 1], builder.denoise(x), has_finite_lambda(s, t)
            decay_m, decay = (
                kept_noise_share(self.eta, lambda_step(s, m)),
                kept_noise_share(self.eta, lambda_step(m, t)),
            )
            noise_m = builder.noise(keys[2 * i]) * (m.sigma * safe_sqrt(1 - decay_m * decay_m))
            noise = builder.noise(keys[2 * i + 1]) * (t.sigma * safe_sqrt(1 - decay * decay))
            ratio = t.sigma * kept_noise_share(self.eta, lambda_step(s, t)) / s.sigma
            weight = t.alpha - s.alpha * ratio
            x_t = x * ratio + D * weight
            if any_true(inside):
                ratio_m = m.sigma * decay_m / s.sigma
                x_m = builder.point(x * ratio_m + D * (m.alpha - s.alpha * ratio_m) + noise_m, m)
                x_t = x_t + ((builder.denoise(x_m) - D) * (weight / (2 * self.r))).masked(inside)
            x = builder.step(x_t + noise_m * (t.sigma / m.sigma * decay) + noise, t)
