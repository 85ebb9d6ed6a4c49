"""TCD, trajectory consistency distillation: its stochastic sampler (Zheng et al. 2024, arXiv:2402.19159, algorithm 4).

x_t = (alpha_t / alpha_t') x_t' + sqrt(sigma_t^2 - (alpha_t / alpha_t')^2 sigma_t'^2) z, t' = (1 - gamma) t

The network follows the ODE from s to a time t' below the target t; the forward process then goes from t' up to t.
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order_step
from .base import PlanBuilder, PlannedSampler


class TCD(PlannedSampler):
    """A first-order step down to t' = (1 - gamma) t, measured from the clean time, then forward noise up to t.

    x_t = (alpha_t / alpha_t') x_t' + noise: together a step that keeps sigma_d = alpha_t rho(t') of the old noise.

    With gamma above 0 the step down stays long at any number of steps, which is correct only for a distilled network:
    with a standard denoiser the result does not converge.

    Args:
        gamma: How far below the target the step goes: 0 is ddim, 1 goes to clean data, like lcm.
    """

    def __init__(self, gamma: float = 0.3):
        if not 0 <= gamma <= 1:
            raise BadInput(f"tcd's gamma lies between 0 (ddim) and 1 (lcm), not {gamma}")
        self.gamma, self.stochastic, self.converges = gamma, gamma > 0, gamma == 0
        self.order = None if self.stochastic else 1

    def draft(self, builder: PlanBuilder) -> None:
        x, clean = builder.start(), builder.schedule.t_clean
        times = [level.t for level in builder.levels_of_rho([t.rho for t in builder.levels[1:]])]
        lowers = builder.levels_at([clean + (1 - self.gamma) * (t - clean) for t in times])
        for i, ((s, t), lower) in enumerate(zip(builder.pairs(), lowers, strict=True)):
            sigma_d = t.alpha * lower.rho if self.gamma else t.sigma
            x = builder.step(first_order_step(builder, x, builder.denoise(x), s, t, sigma_d, ("step", i)), t)
