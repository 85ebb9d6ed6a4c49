"""Noise conditioning: the noise level as one number that a network embeds, finite at every level."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..types import NoiseLevel, Number

_TERMS = 11  # of the series of atanh; at |s| < 0.172 the remainder is below 1e-18


class NoiseConditioning(ABC):
    """Level -> the number that the network embeds; elementwise, so maps stay maps. Finite at both ends.

    A constant map must give, bit for bit, the result of the number: use +, -, * and /, which round identically
    everywhere, and `clamped_log_rho` for logarithms, which do not.
    """

    @abstractmethod
    def embedding_value(self, level: NoiseLevel) -> Number:
        """The number for this level, roughly within [-5, 5] unless the docstring of the class says otherwise."""


def clamped_log_rho(level: NoiseLevel, limit: float) -> Number:
    """log(sigma / alpha), clamped to [-limit, limit]: log(m 2^e) = e log 2 + 2 atanh((m - 1) / (m + 1)).

    Uses only operations whose rounding IEEE 754 defines, with m between sqrt(1/2) and sqrt(2): a number, an element of
    a map and every device give the same bits, while library logarithms differ in the last bit.
    """
    rho, low, high = level.rho, math.exp(-limit - 1), math.exp(limit + 1)
    if isinstance(rho, Tensor):
        mantissa, exponent = torch.frexp(rho.clamp(low, high))
        small = mantissa < math.sqrt(0.5)
        mantissa, exponent = torch.where(small, 2 * mantissa, mantissa), exponent.to(rho.dtype) - small.to(rho.dtype)
        return (exponent * math.log(2) + _twice_atanh((mantissa - 1) / (mantissa + 1))).clamp(-limit, limit)
    m, e = math.frexp(min(max(rho, low), high))
    m, e = (2 * m, e - 1) if m < math.sqrt(0.5) else (m, e)
    return min(max(e * math.log(2) + _twice_atanh((m - 1) / (m + 1)), -limit), limit)


def _twice_atanh(s: Number) -> Number:
    """2 atanh(s) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...)."""
    square, total = s * s, s * 0 + 1 / (2 * _TERMS + 1)
    for k in range(_TERMS - 1, -1, -1):
        total = total * square + 1 / (2 * k + 1)
    return 2 * s * total
