"""SA-Solver: stochastic Adams, predictor and corrector (Xue et al. 2023, arXiv:2309.05019, algorithm 1, eq. 14 to 18).

x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t int_0^1 H e^(-H (1 - r)) P(r) dr + n z, H = (1 + eta) h

The corrector uses the predictor's noise and the one evaluation at the predicted point. The paper's tau(t)^2, the
strength of the noise, is eta within a window of levels and 0 outside. Every integral is exact (the paper's code changes
one weight for two nodes).
"""

from __future__ import annotations

from ..types import BadInput
from ._coefficients import Node, first_order_step, lambda_step
from ._exponential import exponential_moments, higher_order_terms
from ._noise_keys import NoiseKind, check_noise_kind, step_noise_keys
from ._numbers import select_by_mask
from ._shared_steps import kept_noise_share
from .base import PlanBuilder, PlannedSampler
from .plan import Float64, LinearCombination, PlanLevel


class SASolver(PlannedSampler):
    """SA-Solver: an exponential Adams-Bashforth predictor and Adams-Moulton corrector for the reverse SDE.

    x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t int_0^1 H e^(-H (1 - r)) P(r) dr + n z, H = (1 + eta) h, h =
    lambda_t - lambda_s, n = sigma_t sqrt(1 - e^(-2 eta h)), where P is the polynomial in r = (lambda - lambda_s) / h
    through the last estimates. The corrected x_t has the same form and the same z, and the estimate at the predicted
    point is one of its nodes.

    One evaluation per step. A step ends at the predicted point; the correction is applied in the next step, and the
    last point is a predicted one. The order grows with the number of stored estimates; where h is infinite (alpha_s =
    0, sigma_t = 0) it is 1.

    Args:
        eta: Strength of the noise inside the window: 0 solves the ODE, 1 the reverse SDE.
        window: (lowest, highest) tau of the levels s whose steps draw noise.
        predictor_order: Number of estimates that the predictor uses, 1 to 4.
        corrector_order: Number of estimates that the corrector uses, including the new one, 2 to 5; 0: no corrector.
        noise: `path`: increments of one Brownian path in tau, so a seed gives the same noise path at any number of
            steps; `step`: independent noise at every step.
        lower_final: Reduce the orders to 1 and 2 over the last steps: more stable where these are few and long in
            lambda; the order is then at most 2 where the last level is not clean.
    """

    def __init__(
        self,
        eta: float = 1.0,
        window: tuple[float, float] = (0.0, 1.0),
        predictor_order: int = 3,
        corrector_order: int = 4,
        noise: NoiseKind = "path",
        lower_final: bool = False,
    ):
        if eta < 0:
            raise BadInput(f"sa_solver's eta is at least 0, not {eta}")
        if len(window) != 2 or not 0 <= window[0] < window[1] <= 1:
            raise BadInput(f"sa_solver's window is two levels tau, 0 <= lowest < highest <= 1, not {window}")
        if predictor_order not in (1, 2, 3, 4):
            raise BadInput(f"sa_solver's predictor_order is 1 to 4, not {predictor_order}")
        if corrector_order not in (0, 2, 3, 4, 5):
            raise BadInput(f"sa_solver's corrector_order is 2 to 5, or 0 for no corrector, not {corrector_order}")
        check_noise_kind("sa_solver", noise)
        self.eta, self.window, self.noise, self.stochastic = eta, tuple(window), noise, eta > 0
        self.predictor_order, self.corrector_order = predictor_order, corrector_order
        self.lower_final = lower_final
        order = min(predictor_order + 1, corrector_order) if corrector_order else predictor_order
        self.order = None if self.stochastic else min(order, 2) if lower_final else order

    def draft(self, builder: PlanBuilder) -> None:
        x, nodes, previous, predicted, corrector = builder.start(), [], None, LinearCombination({}), 0
        keys = step_noise_keys(builder.levels, self.noise)
        for remaining, (s, t), key in zip(range(len(keys), 0, -1), builder.pairs(), keys, strict=True):
            D = builder.denoise(x)
            if previous is not None and corrector:  # correct the previous step with the estimate at its end
                x = x + self._higher_terms(previous, s, [nodes[0], (s, D), *nodes[1:]], corrector) - predicted
            limit = remaining if self.lower_final else len(keys)
            predictor, corrector = min(self.predictor_order, limit), min(self.corrector_order, limit + 1)
            nodes = [(s, D), *nodes][: max(self.predictor_order, self.corrector_order - 1)]
            previous, predicted = s, self._higher_terms(s, t, nodes, predictor)
            sigma_d = t.sigma * kept_noise_share(self._strength(s), lambda_step(s, t))
            x = builder.step(first_order_step(builder, x, D, s, t, sigma_d, key) + predicted, t)

    def _higher_terms(self, s: PlanLevel, t: PlanLevel, nodes: list[Node], order: int) -> LinearCombination:
        """What predictor and corrector add to the first-order step."""
        return higher_order_terms(s, t, nodes, exponential_moments((1 + self._strength(s)) * lambda_step(s, t), order))

    def _strength(self, s: PlanLevel) -> Float64:
        low, high = self.window
        return select_by_mask((s.tau >= low) & (s.tau <= high), self.eta, 0.0)
