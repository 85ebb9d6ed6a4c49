"""DPM-Solver++(2S) (Lu et al. 2022, arXiv:2211.01095, algorithm 1): a single-step method of second order.

x_t = (sigma_t / sigma_s) x_s + alpha_t (1 - e^-h) ((1 - 1 / (2 r)) D_s + D_m / (2 r))
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import first_order_step, lambda_step
from ._exponential import exponential_moments
from ._numbers import any_true, select_by_mask
from ._stages import stage_levels_in_lambda
from .base import PlanBuilder, PlannedSampler


class DPMpp2S(PlannedSampler):
    """DPM-Solver++(2S): second order from one estimate inside the step, at lambda_s + r h.

    x_t = (sigma_t / sigma_s) x_s + alpha_t [psi_0 D_s + psi_0 / (2 r) (D_m - D_s)], h = lambda_t - lambda_s, psi_0 = 1
    - e^-h; with exact weights psi_1 / r replaces psi_0 / (2 r), psi_1 = 1 - psi_0 / h.

    Two evaluations per step; one in the step to sigma_t = 0, which is of first order. In a step from alpha_s = 0, where
    h is infinite, D_m is evaluated at the fraction r of the step in tau and has the weight 1 / (2 r): second order.

    Args:
        r: Position of the estimate inside the step, as a fraction of the step in lambda.
        exact: Integrate the line through D_s and D_m exactly, instead of using the paper's weight.
    """

    order = 2

    def __init__(self, r: float = 0.5, exact: bool = False):
        if not 0 < r < 1:
            raise BadInput(f"dpmpp_2s evaluates inside the step: r lies between 0 and 1, not {r}")
        self.r, self.exact = r, exact

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        middles = stage_levels_in_lambda(builder, builder.pairs(), self.r, else_on_tau=self.r)
        for (s, t), m in zip(builder.pairs(), middles, strict=True):
            D, inside = builder.denoise(x), t.sigma > 0
            first = first_order_step(builder, x, D, s, t, t.sigma)
            if not any_true(inside):
                x = builder.step(first, t)
                continue
            D_m = builder.denoise(builder.point(first_order_step(builder, x, D, s, m, m.sigma), m))
            psi_0, psi_1 = exponential_moments(lambda_step(s, t), 2)
            weight = select_by_mask((s.alpha > 0) & self.exact, psi_1 / self.r, psi_0 / (2 * self.r))
            x = builder.step(first + ((D_m - D) * (t.alpha * weight)).masked(inside), t)
