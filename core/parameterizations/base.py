"""What a network's output means, and how it becomes x0. Everything here follows from alpha and sigma alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..types import NoiseLevel, Number, expand


class Parameterization(ABC):
    """The meaning of a network's output.

    Coefficients are computed at the level's own precision, float64 in the loop, and rounded once, to x's: a number and
    a map of it then give the same bits, as long as only +, -, *, / and `unit_variance` are used (powers and torch's
    square root round differently).
    """

    def input_scale(self, level: NoiseLevel) -> Number:
        """What x is multiplied by before the network sees it: 1 / sqrt(alpha^2 + sigma^2) gives it unit variance."""
        return unit_variance(level)

    @abstractmethod
    def coefficients(self, level: NoiseLevel) -> tuple[Number, Number]:
        """(skip, out): x0 = skip x + out output, elementwise in the level."""

    def x0(self, x: Tensor, output: Tensor, level: NoiseLevel) -> Tensor:
        """The clean data that the output stands for, (B, C, *spatial); the level is a number, (B,) or a map."""
        skip, out = self.coefficients(level)
        return x * expand(skip, x) + output * expand(out, x)

    @abstractmethod
    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """What the output should have been."""

    @abstractmethod
    def gain(self, level: NoiseLevel) -> Number:
        """How large an error is in this space, where the same error is 1 in the unit-variance space of `edm`.

        At fixed x an error of x0 by d is one of eps by -alpha d / sigma, and of this output by some multiple of d.
        `gain` is that multiple over edm's, sqrt(alpha^2 + sigma^2) / sigma: finite at alpha = 0 and at sigma = 0. It
        carries a loss from one space to another: a network whose output is A, trained with the loss of B, minimises
        (gain_B / gain_A)^2 (output - target)^2.
        """

    def check(self, level: NoiseLevel) -> None:  # noqa: B027 (most predictions have no forbidden level)
        """Raise BadInput where this output says nothing about x0 (eps at alpha = 0)."""


def unit_variance(level: NoiseLevel) -> Number:
    """1 / sqrt(alpha^2 + sigma^2): the scale that gives x unit variance when the data has it."""
    total = power(level)
    if not isinstance(total, Tensor):
        return 1 / math.sqrt(total)
    # torch's square root in float64 is an ulp off here and there on processors, its reciprocal is not.
    return torch.rsqrt(total) if total.device.type == "cpu" else 1 / torch.sqrt(total)


def power(level: NoiseLevel) -> Number:
    """alpha^2 + sigma^2: the variance of x where the data has variance 1."""
    return level.alpha * level.alpha + level.sigma * level.sigma
