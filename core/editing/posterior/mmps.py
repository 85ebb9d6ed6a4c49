"""Moment-matching posterior sampling (Rozet et al. 2024, "MMPS", arXiv:2405.13712, section 4.2, eq. 14 to 16).

p(x0 | x) = N(D, V) with the covariance V = Cov[x0 | x] = (sigma^2 / alpha) J^T of Tweedie's second formula, which is
exact for Gaussian data of any covariance.
"""

from __future__ import annotations

from torch import Tensor

from .base import MeasuredEstimate, PosteriorGuidance, conjugate_gradients


class MMPS(PosteriorGuidance):
    """D_y = D + V A^T u, (A V A^T + s^2 I) u = y - A D, V = (sigma^2 / alpha) J^T, with the noise s of y.

    One backward pass for each iteration of conjugate gradients, and one more.

    Args:
        iterations: Iterations for each evaluation. The V of a network is not exactly symmetric and positive: with more
            than a few iterations its errors grow, and samples may diverge.
    """

    def __init__(self, iterations: int = 2):
        self.iterations = iterations

    def weights(self, at: MeasuredEstimate) -> Tensor:
        def covariance(u: Tensor) -> Tensor:
            return at.forward(at.state_gradient(u)) + at.noise_variance * u

        return conjugate_gradients(covariance, at.residual, self.iterations)
