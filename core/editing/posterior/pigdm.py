"""Pseudo-inverse guidance (Song et al. 2023, "Pseudoinverse-guided diffusion models", ICLR 2023, eq. 7 and 8).

p(x0 | x) = N(D, r^2 I) with r^2 = sigma^2 / (alpha^2 + sigma^2), which is exact for data N(0, I).
"""

from __future__ import annotations

from torch import Tensor

from .base import MeasuredEstimate, PosteriorGuidance, conjugate_gradients

_ITERATIONS = 50  # they cost no evaluation of the network


class PiGDM(PosteriorGuidance):
    """D_y = D + (sigma^2 / alpha) J^T A^T u, (r^2 A A^T + s^2 I) u = y - A D, with the noise s of y.

    One backward pass for each evaluation.
    """

    def weights(self, at: MeasuredEstimate) -> Tensor:
        r2 = at.prior_variance

        def covariance(u: Tensor) -> Tensor:
            return at.forward(r2 * at.adjoint(u)) + at.noise_variance * u

        return conjugate_gradients(covariance, at.residual, _ITERATIONS)
