"""The schedule of DDPM, defined on a grid of steps (Ho et al. 2020, arXiv:2006.11239, eq. 4), extended to any real t.

alpha(t)^2 = product of (1 - beta_i) for i <= t, sigma^2 = 1 - alpha^2

Betas that increase from beta_min to beta_max:

linear         DDPM's
scaled_linear  linear in sqrt(beta): latent diffusion's (Rombach et al. 2022, arXiv:2112.10752)
sigmoid        along a sigmoid from -6 to 6: GeoDiff's (Xu et al. 2022, arXiv:2203.02923)

Betas that are computed from alpha_bar = alpha^2 as a function of u = (t + 1) / steps, each at most 0.999:

cosine         cos(pi/2 (u + 0.008) / 1.008)^2 (Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17)
exponential    exp(-12 u): Shap-E's "exp" (Jun and Nichol 2023, arXiv:2305.02463)
laplace        snr / (1 + snr) with log snr = -sign(1/2 - u) log(1 - 2 |u - 1/2|) / 2, Laplace distributed over u (Hang
et al. 2024, arXiv:2407.03297, mean 0 and b = 1/2); diffusers uses the square root of this alpha_bar
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule

MOST_STEPS = 1_000_000
_RANGES = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "sigmoid": (1e-4, 0.02)}


def _laplace(u: Tensor) -> Tensor:
    away = torch.log1p(-2 * (u - 0.5).abs()) / 2
    return torch.sigmoid(torch.where(u < 0.5, -away, away))


_ALPHA_BAR = {
    "cosine": lambda u: torch.cos((u + 0.008) / 1.008 * (math.pi / 2)) ** 2,
    "exponential": lambda u: torch.exp(-12 * u),
    "laplace": _laplace,
}


class Discrete(Schedule):
    """DDPM's schedule, defined by the betas on a grid of (1000) steps.

    alpha^2 = product of (1 - beta_i) for i <= t, sigma^2 = 1 - alpha^2; t is an index, from steps - 1 (noise) down to
    0, and clean data is t = -1. log alpha is interpolated linearly between indices, so that t may be any real number.

    zero_terminal rescales the square roots of alpha_bar so that the last is 0 and the first does not change (Lin et al.
    2024, arXiv:2305.08891, algorithm 1). The logarithm of 0 cannot be interpolated, so between the last two indices
    alpha itself is interpolated linearly: finite, continuous, and with an exact inverse, up to rho = inf.

    Args:
        betas: How beta increases with the index: `linear`, `scaled_linear` (linear in sqrt(beta)), `sigmoid`, `cosine`,
            `exponential` or `laplace`.
        steps: Number of indices.
        beta_min: First beta of the linear kinds and of sigmoid; None: 1e-4, of scaled_linear 0.00085.
        beta_max: Last beta of the linear kinds and of sigmoid; None: 0.02, of scaled_linear 0.012.
        zero_terminal: Whether alpha is rescaled to exactly 0 at the last index (an eps network is refused there).
    """

    t_min = 0.0
    t_clean = -1.0

    def __init__(
        self,
        betas: Literal["linear", "scaled_linear", "sigmoid", "cosine", "exponential", "laplace"] = "linear",
        steps: int = 1000,
        beta_min: float | None = None,
        beta_max: float | None = None,
        zero_terminal: bool = False,
    ):
        if betas not in (*_RANGES, *_ALPHA_BAR):
            raise BadInput(f"discrete supports the betas {', '.join((*_RANGES, *_ALPHA_BAR))}, not {betas!r}")
        if not 2 + zero_terminal <= steps <= MOST_STEPS:
            raise BadInput(f"discrete has {2 + zero_terminal} to {MOST_STEPS} steps, not {steps}")
        self.steps, self.t_max, self.zero_terminal = steps, steps - 1.0, zero_terminal
        log_alpha = torch.cumsum(torch.log1p(-_betas(betas, steps, beta_min, beta_max)), 0) / 2
        if zero_terminal:
            log_alpha = _to_zero(log_alpha)
        # Knots of log alpha at t = -1 (clean), 0, 1, ..., steps - 1.
        self.knots = torch.cat([torch.zeros(1, dtype=torch.float64), log_alpha])

    def alpha(self, t: Tensor) -> Tensor:
        in_last, inside = self._last(t)
        return torch.where(in_last, (1 - inside) * torch.exp(self.knots[-2]), torch.exp(self._log_alpha(t)))

    def sigma(self, t: Tensor) -> Tensor:
        in_last, inside = self._last(t)
        alpha = (1 - inside) * torch.exp(self.knots[-2])
        # The unused branch must not be 0 under the root: its infinite derivative would make both NaN.
        variance = torch.where(in_last, (1 - alpha) * (1 + alpha), -torch.expm1(2 * self._log_alpha(t)))
        return torch.sqrt(variance)

    def t_of_rho(self, rho: Tensor) -> Tensor:
        log_alpha = -torch.log1p(rho**2) / 2
        knots = self.knots.to(rho.device)
        # knots decrease: k is the segment (k - 1, k) that contains the value
        k = torch.searchsorted(-knots, -log_alpha.contiguous()).clamp(1, len(knots) - 1)
        inside = (log_alpha - knots[k - 1]) / (knots[k] - knots[k - 1])
        if self.zero_terminal:
            inside = torch.where(k == self.steps, -torch.expm1(log_alpha - knots[-2]), inside)
        return (k - 2 + inside).clamp(self.t_clean, self.t_max)

    def _last(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Whether t is where alpha is interpolated, and its distance from the last index but one, in [0, 1]."""
        inside = t - (self.t_max - 1)
        return (inside > 0) & self.zero_terminal, inside

    def _log_alpha(self, t: Tensor) -> Tensor:
        """log alpha, interpolated between finite knots."""
        knots = self.knots.to(t.device)
        knots = knots[:-1] if self.zero_terminal else knots
        k = torch.floor(t.detach() + 2).long().clamp(1, len(knots) - 1)
        return knots[k - 1] + (t - (k - 2)) * (knots[k] - knots[k - 1])


def _betas(kind: str, steps: int, low: float | None, high: float | None) -> Tensor:
    if kind in _ALPHA_BAR:
        if low is not None or high is not None:
            raise BadInput(f"{kind} betas follow from the number of steps alone: leave out beta_min and beta_max")
        alpha_bar = _ALPHA_BAR[kind](torch.arange(steps + 1, dtype=torch.float64) / steps)
        return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)
    low, high = (default if own is None else own for own, default in zip((low, high), _RANGES[kind], strict=True))
    if not 0 < low <= high < 1:
        raise BadInput(f"discrete needs 0 < beta_min <= beta_max < 1, not {low} and {high}")
    if kind == "linear":
        return torch.linspace(low, high, steps, dtype=torch.float64)
    if kind == "sigmoid":
        return low + (high - low) * torch.sigmoid(torch.linspace(-6, 6, steps, dtype=torch.float64))
    return torch.linspace(low**0.5, high**0.5, steps, dtype=torch.float64) ** 2


def _to_zero(log_alpha: Tensor) -> Tensor:
    """Lin et al. 2024, algorithm 1: shift and rescale alpha so that the last is exactly 0 and the first unchanged."""
    alpha = torch.exp(log_alpha)
    first, last = alpha[0], alpha[-1]
    return torch.log((alpha - last) * (first / (first - last)))
