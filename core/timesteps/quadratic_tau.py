"""Steps in tau = sigma / (alpha + sigma) that shrink steadily towards clean data, for two-step methods such as BELM.

tau_i = tau_max (w^2 + k w) / (1 + k), w = 1 - i/N, with the smallest k >= 0 for which tau_(N-1) >= tau_min

A two-step method u_t = r^2 u_p + (1 - r^2) u_s + ... has a second solution besides that of the ODE, which is multiplied
by -r^2 in each step, r the ratio of the step to the one before: over a run by the square of (last step / first step).
In addition it grows as 1 / tau where the ODE contracts as tau. With steps proportional to sqrt(tau), k = 0, the first
factor is tau / tau_max, so that the product is bounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import TimestepSpacing


class QuadraticTau(TimestepSpacing):
    """Steps in tau = sigma / (alpha + sigma) that shrink steadily: for `belm`, whose errors grow with the step.

    tau_i = tau_max (w^2 + k w) / (1 + k), w = 1 - i/N, with the smallest k >= 0 that keeps tau_(N-1) at tau_min or
    above; equal steps from tau_max to tau_min where there are too many steps for that.
    """

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        ends = schedule.level(torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64))
        top, least = ends.tau
        share = float(least / top)
        if share < 1 / steps:
            k = max(0.0, (share - 1 / steps**2) / (1 / steps - share))
            w = 1 - torch.arange(steps, dtype=torch.float64) / steps
            tau = top * (w * w + k * w) / (1 + k)
        else:
            tau = torch.lerp(top, least, torch.linspace(0, 1, steps, dtype=torch.float64))
        times = schedule.t_of_rho(tau / (1 - tau))
        times[0] = schedule.t_max  # exactly, without rounding through rho
        return times
