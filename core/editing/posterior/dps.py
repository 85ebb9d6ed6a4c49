"""Diffusion posterior sampling (Chung et al. 2022, "DPS", arXiv:2209.14687, eq. 10 and algorithm 1).

p(x0 | x) is taken to be a point at D: p(y | x) = p(y | x0 = D). The paper does not use the noise of y for the size of
the step, but a constant over the residual: the gradient of scale |y - A D|.
"""

from __future__ import annotations

from torch import Tensor

from .base import MeasuredEstimate, PosteriorGuidance


class DPS(PosteriorGuidance):
    """D_y = D + (sigma^2 / alpha) J^T A^T u, u = scale (y - A D) / |y - A D|.

    One backward pass for each evaluation.

    Args:
        scale: Size of the step. Over all steps it moves x as far as zeta' = 10 scale / N does in the paper, with its N
            steps of the linear schedule.
    """

    def __init__(self, scale: float = 30.0):
        self.scale = scale

    def weights(self, at: MeasuredEstimate) -> Tensor:
        size = at.residual.flatten(1).norm(dim=1).reshape(-1, *[1] * (at.residual.ndim - 1))
        return self.scale * at.residual / size.clamp(min=1e-12)
