"""Continuous cosine schedule: a quarter turn from data to noise (Salimans and Ho 2022, arXiv:2202.00512, section 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule


class Cosine(Schedule):
    """A quarter turn from data to noise, with alpha = 0 exactly at its start.

    alpha(t) = cos(pi t / 2), sigma(t) = sin(pi t / 2), t from 1 (noise) to 0.

    t_min: smallest time that training and spacings visit; sigma there is about pi t_min / 2
    """

    t_max = 1.0
    t_clean = 0.0

    def __init__(self, t_min: float = 1e-3):
        if not 0 < t_min < 1:
            raise BadInput(f"cosine's t_min lies between 0 and 1, not {t_min}")
        self.t_min = t_min

    def alpha(self, t: Tensor) -> Tensor:
        # The sine of the rest of the turn: exactly 0 at t = 1, where the cosine of a rounded pi / 2 is 6e-17.
        return torch.sin((1 - t) * (math.pi / 2))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t * (math.pi / 2))

    def t_of_rho(self, rho: Tensor) -> Tensor:
        return torch.atan(rho) / (math.pi / 2)
