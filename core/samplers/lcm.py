"""Multistep sampling of consistency models (Song et al. 2023, arXiv:2303.01469, algorithm 1): predict x0, add noise.

x_t = alpha_t D + sigma_t z

Also latent consistency models (Luo et al. 2023, arXiv:2310.04378, algorithm 3), continuous-time consistency models (Lu
and Song 2024, arXiv:2410.11081), and the "stochastic" sampling of distilled flow models.
"""

from __future__ import annotations

from ._coefficients import first_order_step
from .base import PlanBuilder, PlannedSampler


class LCM(PlannedSampler):
    """Consistency sampling, x_t = alpha_t D + sigma_t z: all noise is new at every step.

    D is treated as a sample of the data, which is what a consistency network outputs. A standard denoiser outputs the
    mean of the possible data, so its results have too little variance at any number of steps.
    """

    stochastic = True
    converges = False

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for i, (s, t) in enumerate(builder.pairs()):
            x = builder.step(first_order_step(builder, x, builder.denoise(x), s, t, t.sigma * 0.0, ("step", i)), t)
