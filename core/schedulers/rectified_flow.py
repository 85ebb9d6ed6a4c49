"""Rectified flow: straight lines from noise to data (Liu et al. 2023, arXiv:2209.03003, eq. 1).

The static shift is that of Esser et al. 2024 (arXiv:2403.03206, eq. 23).
"""

from __future__ import annotations

from torch import Tensor

from ..types import BadInput
from .base import Schedule


class RectifiedFlow(Schedule):
    """Straight lines from data to noise, with alpha = 0 exactly at their start.

    alpha = 1 - u, sigma = u with u = shift t / (1 + (shift - 1) t), t from 1 (noise) to 0.

    The shift lives here and nowhere else: uniform times and linear spacings are shifted by it, once. Densities and
    spacings that are stated in rho or tau name levels, not times, so it does not touch them.

    shift: multiplies rho = sigma / alpha at every t; above 1 spends more time at high noise (large pictures want it)
    t_min: smallest time that training and spacings visit
    """

    t_max = 1.0
    t_clean = 0.0

    def __init__(self, shift: float = 1.0, t_min: float = 1e-3):
        if shift <= 0:
            raise BadInput(f"rectified_flow's shift is positive (1: none), not {shift}")
        if not 0 < t_min < 1:
            raise BadInput(f"rectified_flow's t_min lies between 0 and 1, not {t_min}")
        self.shift, self.t_min = shift, t_min

    def alpha(self, t: Tensor) -> Tensor:
        return (1 - t) / ((1 - t) + self.shift * t)  # this sum is exactly `shift` at t = 1, so that sigma is exactly 1

    def sigma(self, t: Tensor) -> Tensor:
        return self.shift * t / ((1 - t) + self.shift * t)

    def t_of_rho(self, rho: Tensor) -> Tensor:
        return 1 / (1 + self.shift / rho)  # 1 at rho = inf, 0 at rho = 0
