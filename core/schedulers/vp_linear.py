"""Continuous variance-preserving schedule, beta linear in time (Song et al. 2021, arXiv:2011.13456, eq. 32 and 33).

alpha(t) = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2), sigma^2 = 1 - alpha^2
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule


class VPLinear(Schedule):
    """Variance preserving in continuous time, with beta linear in t.

    alpha(t) = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2), sigma^2 = 1 - alpha^2, t from 1 (noise) to 0.

    Args:
        beta_min: beta at t = 0, per unit of t.
        beta_max: beta at t = 1, per unit of t.
        t_min: Smallest time that training and timestep spacings use; sigma there is about sqrt(beta_min t_min).
    """

    t_max = 1.0
    t_clean = 0.0

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-4):
        if not 0 < beta_min <= beta_max:
            raise BadInput(f"vp_linear needs 0 < beta_min <= beta_max, not {beta_min} and {beta_max}")
        if not 0 < t_min < 1:
            raise BadInput(f"vp_linear's t_min lies between 0 and 1, not {t_min}")
        self.beta_min, self.beta_max, self.t_min = beta_min, beta_max, t_min

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(self._log_alpha(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(2 * self._log_alpha(t)))

    def t_of_rho(self, rho: Tensor) -> Tensor:
        # log alpha = -log(1 + rho^2) / 2 is quadratic in t; this form of the root is accurate near t = 0.
        falls = torch.log1p(rho**2)
        half = self.beta_min / 2
        return falls / (half + torch.sqrt(half**2 + (self.beta_max - self.beta_min) / 2 * falls))

    def _log_alpha(self, t: Tensor) -> Tensor:
        return -(t**2) * ((self.beta_max - self.beta_min) / 4) - t * (self.beta_min / 2)
