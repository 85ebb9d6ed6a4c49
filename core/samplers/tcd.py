"""TCD, trajectory consistency distillation: its stochastic sampling (Zheng et al. 2024, arXiv:2402.19159, algorithm 4).

The network leads along the ODE from s to a time t' before the target t, and the forward process from there up to t.
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order
from .base import PlanBuilder, PlannedSampler


class TCD(PlannedSampler):
    """A first-order step down to t' = (1 - gamma) t, counted from the clean time, then forward noise up to t.

    x_t = (alpha_t / alpha_t') x_t' + noise: in one, a step that keeps sigma_d = alpha_t rho(t') of its noise. At a
    gamma above 0 the step down is long however many steps there are, which is right for the distilled network alone: a
    plain denoiser does not converge.

    Args:
        gamma: How far below the target: 0 is ddim, 1 goes to clean data, as lcm.
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
            kept = t.alpha * lower.rho if self.gamma else t.sigma
            x = builder.step(first_order(builder, x, builder.denoise(x), s, t, kept, ("step", i)), t)
