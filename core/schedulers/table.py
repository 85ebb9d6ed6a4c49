"""A schedule given as a table of levels, for example measured, learned or copied from a paper."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule


class Table(Schedule):
    """A schedule given as lists of t, alpha and sigma.

    Between two rows alpha and sigma are linear in t. Then rho = sigma / alpha increases within a segment if it
    increases from one row to the next, its inverse is a quotient, and alpha = 0 and sigma = 0 need no special case. Two
    rows give rectified flow (the default), or EDM.

    A first row with alpha 1 and sigma 0 is clean data. Without one, clean data is one step before the first row.

    Args:
        t: Increasing times.
        alpha: Scale of the data at each time.
        sigma: Standard deviation of the noise at each time; sigma / alpha must increase with t.
        t_min: Smallest time that training and timestep spacings use; null: the first row, or, where the table starts
            with clean data, a thousandth of the interval from clean to the last row, or the second row if that is
            smaller.
    """

    def __init__(
        self,
        t: tuple[float, ...] = (0.0, 1.0),
        alpha: tuple[float, ...] = (1.0, 0.0),
        sigma: tuple[float, ...] = (0.0, 1.0),
        t_min: float | None = None,
    ):
        rows = _checked(t, alpha, sigma)
        if rows[2, 0] == 0:
            first = min(float(rows[0, 1]), float(rows[0, 0] + (rows[0, -1] - rows[0, 0]) / 1000))
        else:
            first = float(rows[0, 0])
            clean = torch.tensor([[2 * first - float(rows[0, 1])], [1.0], [0.0]], dtype=torch.float64)
            rows = torch.cat([clean, rows], dim=1)
        self.times, self.alphas, self.sigmas = rows.contiguous()
        self.t_clean, self.t_max = float(self.times[0]), float(self.times[-1])
        self.t_min = first if t_min is None else t_min
        if not self.t_clean < self.t_min < self.t_max:
            raise BadInput(f"table's t_min lies between {self.t_clean:g} and {self.t_max:g}, not {t_min}")

    def alpha(self, t: Tensor) -> Tensor:
        return self._between(t, self.alphas)

    def sigma(self, t: Tensor) -> Tensor:
        return self._between(t, self.sigmas)

    def t_of_rho(self, rho: Tensor) -> Tensor:
        times, alphas, sigmas = (v.to(rho.device) for v in (self.times, self.alphas, self.sigmas))
        k = torch.searchsorted(sigmas / alphas, rho.contiguous()).clamp(1, len(times) - 1)
        # sigma - rho alpha = 0, divided by 1 + rho so that it stays finite at rho = inf
        data, noise = 1 / (1 + rho), 1 / (1 + 1 / rho)
        low, high = (data * sigmas[i] - noise * alphas[i] for i in (k - 1, k))
        inside = (low / (low - high)).clamp(0, 1)
        return torch.where(inside == 1, times[k], times[k - 1] + inside * (times[k] - times[k - 1]))

    def _between(self, t: Tensor, values: Tensor) -> Tensor:
        times, values = self.times.to(t.device), values.to(t.device)
        k = torch.searchsorted(times, t.detach().contiguous()).clamp(1, len(times) - 1)
        inside = (t - times[k - 1]) / (times[k] - times[k - 1])
        return values[k - 1] * (1 - inside) + values[k] * inside  # exact at both rows


def _checked(t: tuple[float, ...], alpha: tuple[float, ...], sigma: tuple[float, ...]) -> Tensor:
    """The rows as (3, N) float64: finite, not negative, times and sigma / alpha increasing."""
    if not len(t) == len(alpha) == len(sigma) >= 2:
        raise BadInput(
            f"table's t, alpha and sigma are lists of one length, at least 2, not {len(t)}, {len(alpha)}, {len(sigma)}"
        )
    rows = torch.tensor([list(t), list(alpha), list(sigma)], dtype=torch.float64)
    for i, (time, a, s) in enumerate(rows.T.tolist()):
        where = f"table's row {i} (t = {time:g}, alpha = {a:g}, sigma = {s:g})"
        if not bool(torch.isfinite(rows[:, i]).all()) or a < 0 or s < 0 or a == s == 0:
            raise BadInput(f"{where}: alpha and sigma are finite, not negative, and not both 0")
        if s == 0 and (i or a != 1):
            raise BadInput(f"{where}: sigma is 0 in the first row only, where alpha is 1")
        if i and not time > rows[0, i - 1]:
            raise BadInput(f"{where} is not later than the row before it: times must rise")
        if i and not s * rows[1, i - 1] > rows[2, i - 1] * a:
            raise BadInput(f"{where} is not noisier than the row before it: sigma / alpha must rise with t")
    return rows
