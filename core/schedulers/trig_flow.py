"""TrigFlow: cosine and sine of the time, which is an angle (Lu and Song 2024, arXiv:2410.11081, section 3).

alpha(t) = cos t, sigma(t) = sin t
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule


class TrigFlow(Schedule):
    """alpha = cos t and sigma = sin t for an angle t in radians, with alpha = 0 exactly at t = pi/2.

    alpha(t) = cos t, sigma(t) = sin t, t from pi/2 (noise) to 0. The levels are those of `cosine`; networks of this
    family receive t itself (noise conditioning `time`) and output v.

    Args:
        t_min: Smallest time that training and timestep spacings use, in radians; sigma there is about t_min.
    """

    t_max = math.pi / 2
    t_clean = 0.0

    def __init__(self, t_min: float = 1e-3):
        if not 0 < t_min < self.t_max:
            raise BadInput(f"trig_flow's t_min lies between 0 and pi / 2, not {t_min}")
        self.t_min = t_min

    def alpha(self, t: Tensor) -> Tensor:
        # Exactly 0 at the rounded pi / 2, where the cosine is 6e-17, and at pi / 2 in float32, which is larger.
        return torch.where(t > self.t_max, 0.0, torch.sin(self.t_max - t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t)

    def t_of_rho(self, rho: Tensor) -> Tensor:
        return torch.atan(rho)
