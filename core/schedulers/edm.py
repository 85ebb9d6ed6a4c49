"""EDM: variance exploding with the noise as time (Karras et al. 2022, arXiv:2206.00364, table 1).

x = x0 + sigma eps, alpha(t) = 1, sigma(t) = t
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule


class EDM(Schedule):
    """Data of unit variance plus noise, x = x0 + sigma eps; time is sigma.

    Args:
        sigma_min: Smallest noise before the last step to clean data, in units of the data's standard deviation.
        sigma_max: Largest noise, in units of the data's standard deviation.
    """

    t_clean = 0.0

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0):
        if not 0 < sigma_min < sigma_max:
            raise BadInput(f"edm needs 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}")
        self.t_min, self.t_max = sigma_min, sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def t_of_rho(self, rho: Tensor) -> Tensor:
        return rho
