"""Variance exploding: noise that grows geometrically with time (Song et al. 2021, arXiv:2011.13456, eq. 30).

alpha(t) = 1, sigma(t) = sigma_min (sigma_max / sigma_min)^t
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule


class VE(Schedule):
    """Data plus noise that grows geometrically with time.

    alpha(t) = 1, sigma(t) = sigma_min (sigma_max / sigma_min)^t, t from 1 to 0; clean data is t = -1, which is not on
    this curve. The levels are those of `edm`, but a step in t is a step in log sigma, so uniform times give log-uniform
    noise.

    Args:
        sigma_min: Smallest noise before the last step to clean data, in units of the data's standard deviation.
        sigma_max: Largest noise, in units of the data's standard deviation.
    """

    t_min = 0.0
    t_max = 1.0
    t_clean = -1.0

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 100.0):
        if not 0 < sigma_min < sigma_max:
            raise BadInput(f"ve needs 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * torch.exp(t * math.log(self.sigma_max / self.sigma_min))

    def t_of_rho(self, rho: Tensor) -> Tensor:
        t = torch.log(rho / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)
        return torch.where(rho == 0, self.t_clean, t)
