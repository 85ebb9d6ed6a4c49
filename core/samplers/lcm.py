"""Multistep sampling of consistency models: to clean data and back up, at every step.

Song et al. 2023 (arXiv:2303.01469, algorithm 1), latent consistency models (Luo et al. 2023, arXiv:2310.04378,
algorithm 3), continuous-time ones (Lu and Song 2024, arXiv:2410.11081), "stochastic" sampling of distilled flow models.
"""

from __future__ import annotations

import torch

from ._coefficients import first_order
from .base import PlanBuilder, Sampler


class LCM(Sampler):
    """x_t = alpha_t D + sigma_t z: all noise is fresh at every step.

    D is taken for a sample of the data, which a consistency network's output is. A plain denoiser's is the mean of what
    may be there, and stays too narrow at any number of steps.
    """

    stochastic = True
    converges = False

    def draft(self, draft: PlanBuilder) -> None:
        x = draft.start()
        for i, (s, t) in enumerate(draft.pairs()):
            x = draft.step(first_order(draft, x, draft.denoise(x), s, t, torch.zeros_like(t.sigma), ("step", i)), t)
