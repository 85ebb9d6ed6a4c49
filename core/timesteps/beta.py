"""Beta: times at the quantiles of a beta distribution (Lee et al. 2024, arXiv:2407.12173, section 3).

With both exponents below 1 its density is high at both ends: more steps where outlines form and where detail does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from .base import TimestepSpacing, whole


class Beta(TimestepSpacing):
    """Times at evenly spaced quantiles of a beta distribution: many at both ends.

    t_i = t_min + Q(1 - i/N) (t_max - t_min), Q the inverse of the regularised incomplete beta function I_x(a, b);
    whole indices on a schedule that is defined on a grid.

    a: first exponent; below 1 puts more steps at low noise
    b: second exponent; below 1 puts more steps at high noise
    """

    def __init__(self, a: float = 0.6, b: float = 0.6):
        if not (0.1 <= a <= 10 and 0.1 <= b <= 10):
            raise BadInput(f"beta's exponents a and b lie between 0.1 and 10, not {a} and {b}")
        self.a, self.b = a, b

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        u = 1 - torch.arange(steps, dtype=torch.float64) / steps
        return whole(schedule.t_min + _quantile(u, self.a, self.b) * (schedule.t_max - schedule.t_min), schedule)


def _quantile(u: Tensor, a: float, b: float) -> Tensor:
    """x in [0, 1] with I_x(a, b) = u, elementwise, float64."""
    half = float(_incomplete(torch.tensor([math.log(0.5)], dtype=torch.float64), a, b))
    return torch.where(u < half, _lower(u.clamp(max=half), a, b), 1 - _lower((1 - u).clamp(max=1 - half), b, a))


def _lower(u: Tensor, a: float, b: float) -> Tensor:
    """The quantile where it is at most 1/2, by bisection of log x: relative accuracy however small it is."""
    # log I_x <= a log x + 40 for these a and b, so the solution lies above the first bound.
    low, high = (torch.log(u.clamp(min=1e-300)) - 40) / a, torch.full_like(u, math.log(0.5))
    for _ in range(64):
        middle = (low + high) / 2
        above = _incomplete(middle, a, b) > u
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return torch.where(u > 0, torch.exp(high), 0.0)


def _incomplete(log_x: Tensor, a: float, b: float) -> Tensor:
    """I_x(a, b) for x <= 1/2, (N,) -> (N,): x^a (1-x)^b / (a B(a, b)) sum_n (a+b)_n / (a+1)_n x^n (DLMF 8.17.8)."""
    n = torch.arange(160, dtype=torch.float64)  # where its terms, at x = 1/2, are below 1e-17 of the sum
    terms = torch.exp(_rising(a + b, n) - _rising(a + 1, n) + n * log_x[:, None])
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return torch.exp(a * log_x + b * torch.log1p(-torch.exp(log_x)) - math.log(a) - log_beta) * terms.sum(1)


def _rising(z: float, n: Tensor) -> Tensor:
    """log of z (z+1) ... (z+n-1)."""
    return torch.lgamma(z + n) - math.lgamma(z)
