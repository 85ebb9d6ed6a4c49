"""The noise itself (Ho et al. 2020, arXiv:2006.11239, eq. 11 and 14)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import BadInput, Level, Number
from .base import Prediction, unit_variance


class Eps(Prediction):
    """The noise: output = eps, x0 = (x - sigma eps) / alpha.

    Refused at alpha = 0, where x is all noise and knowing it tells nothing of the data.
    """

    def x0(self, x: Tensor, output: Tensor, level: Level) -> Tensor:
        return (x - level.sigma * output) / level.alpha

    def target(self, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
        return eps

    def gain(self, level: Level) -> Number:
        return level.alpha * unit_variance(level)

    def check(self, level: Level) -> None:
        if bool((torch.as_tensor(level.alpha) == 0).any()):
            raise BadInput(
                "an eps network says nothing about the data at alpha = 0, where this schedule starts: "
                "train with `prediction: v` (or flow, edm, x0), or start lower (spacing karras with rho_max)"
            )
