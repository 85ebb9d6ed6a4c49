"""Variance exploding: data plus noise that grows geometrically (Song et al. 2021, arXiv:2011.13456, eq. 30)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule


class VE(Schedule):
    """Data plus noise that grows geometrically with time.

    alpha(t) = 1, sigma(t) = sigma_min (sigma_max / sigma_min)^t, t from 1 to 0; clean is t = -1, off that curve. The
    same family of levels as `edm`; here a step in t is a step in log sigma, so uniform times are log-uniform noise.

    Args:
        sigma_min: Smallest noise before the last step to clean, in units of the data's deviation.
        sigma_max: Largest noise, in units of the data's deviation.
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
