"""The schedule of DDPM, defined on a grid of steps (Ho et al. 2020, arXiv:2006.11239, eq. 4), here for any real t.

betas: `linear` is DDPM's, `scaled_linear` is latent diffusion's (linear in sqrt(beta)), `cosine` is improved DDPM's
(Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17, beta at most 0.999).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule

_RANGES = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "cosine": (None, None)}


class Discrete(Schedule):
    """DDPM's schedule, defined on a grid of steps (1000) by their betas.

    alpha^2 = product of (1 - beta_i) for i <= t, sigma^2 = 1 - alpha^2; t is an index, from steps - 1 (noise) down to
    0, and clean is t = -1. log alpha is interpolated linearly between indices, so levels between them are levels too.

    betas:    how beta grows with the index: linear, scaled_linear (linear in sqrt(beta)) or cosine
    steps:    number of indices
    beta_min: first beta of the linear kinds; None: 1e-4 (linear), 0.00085 (scaled_linear)
    beta_max: last beta of the linear kinds; None: 0.02 (linear), 0.012 (scaled_linear)
    """

    t_min = 0.0
    t_clean = -1.0

    def __init__(
        self,
        betas: Literal["linear", "scaled_linear", "cosine"] = "linear",
        steps: int = 1000,
        beta_min: float | None = None,
        beta_max: float | None = None,
    ):
        if betas not in _RANGES:
            raise BadInput(f"discrete knows the betas {', '.join(_RANGES)}, not {betas!r}")
        if steps < 2:
            raise BadInput(f"discrete needs at least 2 steps, not {steps}")
        self.steps, self.t_max = steps, steps - 1.0
        values = _betas(betas, steps, beta_min, beta_max)
        # Knots of log alpha at t = -1 (clean), 0, 1, ..., steps - 1.
        self.knots = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(torch.log1p(-values), 0) / 2])

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(self._log_alpha(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(2 * self._log_alpha(t)))

    def t_of_rho(self, rho: Tensor) -> Tensor:
        log_alpha = -torch.log1p(rho**2) / 2
        knots = self.knots.to(rho.device)
        # knots fall: k is the segment (k - 1, k) that holds the value
        k = torch.searchsorted(-knots, -log_alpha.contiguous()).clamp(1, len(knots) - 1)
        inside = (log_alpha - knots[k - 1]) / (knots[k] - knots[k - 1])
        return (k - 2 + inside).clamp(self.t_clean, self.t_max)

    def _log_alpha(self, t: Tensor) -> Tensor:
        knots = self.knots.to(t.device)
        k = torch.floor(t.detach() + 2).long().clamp(1, len(knots) - 1)
        return knots[k - 1] + (t - (k - 2)) * (knots[k] - knots[k - 1])


def _betas(kind: str, steps: int, low: float | None, high: float | None) -> Tensor:
    if kind == "cosine":
        if low is not None or high is not None:
            raise BadInput("cosine betas follow from the number of steps alone: leave out beta_min and beta_max")
        i = torch.arange(steps + 1, dtype=torch.float64) / steps
        alpha_bar = torch.cos((i + 0.008) / 1.008 * (math.pi / 2)) ** 2
        return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)
    low, high = (default if own is None else own for own, default in zip((low, high), _RANGES[kind], strict=True))
    if not 0 < low <= high < 1:
        raise BadInput(f"discrete needs 0 < beta_min <= beta_max < 1, not {low} and {high}")
    if kind == "linear":
        return torch.linspace(low, high, steps, dtype=torch.float64)
    return torch.linspace(low**0.5, high**0.5, steps, dtype=torch.float64) ** 2
