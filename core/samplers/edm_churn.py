"""EDM's stochastic sampler (Karras et al. 2022, arXiv:2206.00364, algorithm 2): churn, then a Heun step.

x_hat = x_s + sqrt(sigma_hat^2 - sigma_s^2) s_noise z, sigma_hat = (1 + gamma) sigma_s, then a Heun step from sigma_hat
to sigma_t

Some noise is added before a step, and the network is evaluated at the increased level. On schedules with alpha != 1,
rho = sigma / alpha is increased by the forward process, which also scales the data.
"""

from __future__ import annotations

from ..types import BadInput
from ._numbers import any_true, elementwise_min, select_by_mask
from ._shared_steps import add_forward_noise, heun_step
from .base import PlanBuilder, PlannedSampler
from .plan import PlanLevel


class EDMChurn(PlannedSampler):
    """Heun's method with churn: up to rho_hat = (1 + gamma) rho by the forward process, then down to the next level.

    gamma = min(s_churn / steps, sqrt(2) - 1) where rho lies between s_tmin and s_tmax, else 0; rho_hat is at most the
    rho of the first level. Two evaluations per step; one in steps from alpha_s = 0 and to sigma_t = 0.

    Args:
        s_churn: Total amount of noise that is exchanged; 0 is heun.
        s_tmin: Lowest rho = sigma / alpha with churn.
        s_tmax: Highest rho with churn.
        s_noise: Standard deviation of the added noise; values other than 1 do not keep the marginal (EDM: 1.003 to
            1.007).
    """

    def __init__(self, s_churn: float = 40.0, s_tmin: float = 0.05, s_tmax: float = 50.0, s_noise: float = 1.0):
        if s_churn < 0:
            raise BadInput(f"edm_churn's s_churn is at least 0, not {s_churn}")
        if not 0 <= s_tmin < s_tmax:
            raise BadInput(f"edm_churn needs 0 <= s_tmin < s_tmax, in rho = sigma / alpha, not {s_tmin} and {s_tmax}")
        if s_noise <= 0:
            raise BadInput(f"edm_churn's s_noise is positive, not {s_noise}")
        self.s_churn, self.s_tmin, self.s_tmax, self.s_noise = s_churn, s_tmin, s_tmax, s_noise
        self.stochastic, self.keeps_marginal = s_churn > 0, s_noise == 1
        self.order = None if self.stochastic else 2

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for i, ((s, t), hat) in enumerate(zip(builder.pairs(), self._churned(builder), strict=True)):
            if any_true(hat.sigma != s.sigma):
                x = builder.point(add_forward_noise(builder, x, s, hat, ("step", i), self.s_noise), hat)
            x = heun_step(builder, x, hat, t)

    def _churned(self, builder: PlanBuilder) -> list[PlanLevel]:
        """The level that each step starts from after churn."""
        starts = builder.levels[:-1]
        gamma = min(self.s_churn / len(starts), 2**0.5 - 1)
        rhos = [elementwise_min((1 + gamma) * s.rho, builder.levels[0].rho) for s in starts]
        churned = [
            (s.rho >= self.s_tmin) & (s.rho <= self.s_tmax) & (s.alpha > 0) & (s.sigma > 0) & (rho > s.rho)
            for s, rho in zip(starts, rhos, strict=True)
        ]
        raised = builder.levels_of_rho(
            [select_by_mask(mask, rho, 1.0) for mask, rho in zip(churned, rhos, strict=True)]
        )
        return [m.where(mask, s) for m, mask, s in zip(raised, churned, starts, strict=True)]
