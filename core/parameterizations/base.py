"""Base class of parameterizations: what a network outputs, and x0 computed from it with alpha and sigma alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..types import NoiseLevel, Number, broadcast_like


class Parameterization(ABC):
    """The meaning of a network's output.

    Coefficients are computed in the precision of the level, float64 in the loop, and rounded once, to the dtype of x. A
    number and a constant map then give the same bits, as long as only +, -, *, / and `unit_variance_scale` are used
    (powers and torch's square root are rounded differently).
    """

    def input_scale(self, level: NoiseLevel) -> Number:
        """Factor of the network's input: 1 / sqrt(alpha^2 + sigma^2) gives x unit variance."""
        return unit_variance_scale(level)

    @abstractmethod
    def coefficients(self, level: NoiseLevel) -> tuple[Number, Number]:
        """(skip, out): x0 = skip x + out output, elementwise in the level."""

    def x0(self, x: Tensor, output: Tensor, level: NoiseLevel) -> Tensor:
        """x0 from the network's output, (B, C, *spatial); the level is a number, (B,) or a map."""
        skip, out = self.coefficients(level)
        return x * broadcast_like(skip, x) + output * broadcast_like(out, x)

    @abstractmethod
    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """The correct output for this x0 and eps: the target of training."""

    @abstractmethod
    def gain(self, level: NoiseLevel) -> Number:
        """The size of an error in this output space, where the same error is 1 in the unit-variance space of `edm`.

        At fixed x an error d of x0 is an error -alpha d / sigma of eps, and some multiple of d in this output. `gain`
        is this multiple divided by that of edm, sqrt(alpha^2 + sigma^2) / sigma: finite at alpha = 0 and at sigma = 0.
        It converts a loss from one space to another: a network with output A, trained with the loss of B, minimises
        (gain_B / gain_A)^2 (output - target)^2.
        """

    def check(self, level: NoiseLevel) -> None:  # noqa: B027 (most parameterizations accept every level)
        """Raise BadInput at a level where this output does not determine x0 (eps at alpha = 0)."""


def unit_variance_scale(level: NoiseLevel) -> Number:
    """1 / sqrt(alpha^2 + sigma^2): the scale that gives x unit variance if the data has unit variance."""
    total = marginal_variance(level)
    if not isinstance(total, Tensor):
        return 1 / math.sqrt(total)
    # On CPUs torch's square root in float64 is sometimes off by one ulp, its reciprocal square root is not.
    return torch.rsqrt(total) if total.device.type == "cpu" else 1 / torch.sqrt(total)


def marginal_variance(level: NoiseLevel) -> Number:
    """alpha^2 + sigma^2: the variance of x if the data has variance 1."""
    return level.alpha * level.alpha + level.sigma * level.sigma
