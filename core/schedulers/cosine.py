"""Continuous cosine schedule (Salimans and Ho 2022, arXiv:2202.00512, section 4).

alpha(t) = cos(pi t / 2), sigma(t) = sin(pi t / 2)

The shift for larger images is that of Hoogeboom et al. 2023 ("simple diffusion", arXiv:2301.11093).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule


class Cosine(Schedule):
    """alpha and sigma as cosine and sine of pi t / 2, with alpha = 0 exactly at t = 1.

    rho = sigma / alpha = shift tan(pi t / 2) with alpha^2 + sigma^2 = 1, t from 1 (noise) to 0. Without a shift alpha =
    cos(pi t / 2), sigma = sin(pi t / 2). A shift changes the log signal-to-noise ratio by -2 log(shift) at every t.

    Args:
        t_min: Smallest time that training and timestep spacings use; sigma there is about shift pi t_min / 2.
        shift: Multiplies rho = sigma / alpha at every t. The paper uses d / 64 for images of d x d elements; 1 means no
            shift.
    """

    t_max = 1.0
    t_clean = 0.0

    def __init__(self, t_min: float = 1e-3, shift: float = 1.0):
        if not 0 < t_min < 1:
            raise BadInput(f"cosine's t_min lies between 0 and 1, not {t_min}")
        if not 0 < shift < math.inf:
            raise BadInput(f"cosine's shift is positive (1: none; d / 64 for d x d elements), not {shift}")
        self.t_min, self.shift = t_min, shift

    def alpha(self, t: Tensor) -> Tensor:
        cos, sin = self._turn(t)
        return cos / torch.sqrt(cos**2 + sin**2)

    def sigma(self, t: Tensor) -> Tensor:
        cos, sin = self._turn(t)
        return sin / torch.sqrt(cos**2 + sin**2)

    def t_of_rho(self, rho: Tensor) -> Tensor:
        return torch.atan(rho / self.shift) / (math.pi / 2)

    def _turn(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) up to a common factor."""
        # The sine of the complementary angle: exactly 0 at t = 1, where the cosine of a rounded pi / 2 is 6e-17.
        return torch.sin((1 - t) * (math.pi / 2)), self.shift * torch.sin(t * (math.pi / 2))
