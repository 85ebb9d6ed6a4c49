"""Multistep sampling of consistency models: to clean data and back up, at every step.

Song et al. 2023 (arXiv:2303.01469, algorithm 1), latent consistency models (Luo et al. 2023, arXiv:2310.04378,
algorithm 3), continuous-time ones (Lu and Song 2024, arXiv:2410.11081), "stochastic" sampling of distilled flow models.
"""

from __future__ import annotations

from ._coefficients import first_order
from .base import PlanBuilder, PlannedSampler


class LCM(PlannedSampler):
    """x_t = alpha_t D + sigma_t z: all noise is fresh at every step.

    D is taken for a sample of the data, which a consistency network's output is. A plain denoiser's is the mean of what
    may be there, and stays too narrow at any number of steps.
    """

    stochastic = True
    converges = False

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for i, (s, t) in enumerate(builder.pairs()):
            x = builder.step(first_order(builder, x, builder.denoise(x), s, t, t.sigma * 0.0, ("step", i)), t)
