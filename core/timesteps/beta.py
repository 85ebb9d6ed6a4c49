"""Beta: times at the quantiles of a beta distribution (Lee et al. 2024, arXiv:2407.12173, section 3).

t_i = t_min + Q(1 - i/N) (t_max - t_min), Q the quantile function of Beta(a, b)

With both exponents below 1 the density is high at both ends: more steps where coarse structure forms and where fine
detail forms.
"""

from __future__ import annotations

import torch
from scipy.special import betaincinv
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput
from .base import TimestepSpacing, round_to_grid


class Beta(TimestepSpacing):
    """Times at evenly spaced quantiles of a beta distribution: more steps at both ends.

    t_i = t_min + Q(1 - i/N) (t_max - t_min), Q the inverse of the regularised incomplete beta function I_x(a, b);
    rounded to whole indices on a schedule that is defined on a grid.

    Args:
        a: First exponent; below 1 puts more steps at low noise.
        b: Second exponent; below 1 puts more steps at high noise.
    """

    def __init__(self, a: float = 0.6, b: float = 0.6):
        if not (0.1 <= a <= 10 and 0.1 <= b <= 10):
            raise BadInput(f"beta's exponents a and b lie between 0.1 and 10, not {a} and {b}")
        self.a, self.b = a, b

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        u = 1 - torch.arange(steps, dtype=torch.float64) / steps
        quantiles = torch.from_numpy(betaincinv(self.a, self.b, u.numpy()))
        return round_to_grid(schedule.t_min + quantiles * (schedule.t_max - schedule.t_min), schedule)
