"""TrigFlow: a quarter turn whose time is the angle (Lu and Song 2024, arXiv:2410.11081, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule


class TrigFlow(Schedule):
    """A quarter turn from data to noise, time being the angle in radians, with alpha = 0 exactly at its start.

    alpha(t) = cos t, sigma(t) = sin t, t from pi/2 (noise) to 0. The levels are those of `cosine`; networks of this
    family are told t itself (clock `time`) and put out v.

    Args:
        t_min: Smallest time that training and spacings visit, in radians; sigma there is about t_min.
    """

    t_max = math.pi / 2
    t_clean = 0.0

    def __init__(self, t_min: float = 1e-3):
        if not 0 < t_min < self.t_max:
            raise BadInput(f"trig_flow's t_min lies between 0 and pi / 2, not {t_min}")
        self.t_min = t_min

    def alpha(self, t: Tensor) -> Tensor:
        # Exactly 0 at the rounded pi / 2, where the cosine is 6e-17, and at a float32's pi / 2, which is beyond it.
        return torch.where(t > self.t_max, 0.0, torch.sin(self.t_max - t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t)

    def t_of_rho(self, rho: Tensor) -> Tensor:
        return torch.atan(rho)
