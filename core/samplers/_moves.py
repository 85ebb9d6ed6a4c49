"""Moves that several stochastic samplers are made of: below the target, forward in noise, Heun's step in rho."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from ..schedulers.base import NoiseLevel64
from ..types import NoiseLevel
from ._coefficients import first_order
from ._stages import regular
from .base import LinearCombination, PlanBuilder


def damping(eta: Tensor | float, h: Tensor) -> Tensor:
    """e^(-eta h): the share of its old noise that the reverse SDE of strength eta keeps; all of it at eta = 0."""
    eta = torch.as_tensor(eta, dtype=h.dtype)
    return torch.where(eta == 0, 1.0, torch.exp(-eta * h))


def below(s: NoiseLevel64, t: NoiseLevel64, eta: float) -> NoiseLevel64:
    """Where an ancestral step from s to t lands before it adds noise: alpha_t, and sigma_d <= sigma_t.

    sigma_d = sigma_t sqrt(1 - eta^2 (1 - q^2)), q = rho_t / rho_s; alpha_t with sigma_d is no level of the schedule,
    but x / alpha_t is a point of its curves at rho = sigma_d / alpha_t.
    """
    q = t.rho * (s.alpha / s.sigma)
    sigma = t.sigma * (1 - eta**2 * (1 - q**2)).clamp(min=0) ** 0.5
    return NoiseLevel64(t.t, t.alpha, torch.where(moves(s, t), sigma, t.sigma))


def fresh(d: NoiseLevel64, t: NoiseLevel64) -> Tensor:
    """The noise that lifts d to t at the same alpha: sqrt(sigma_t^2 - sigma_d^2)."""
    return (t.sigma**2 - d.sigma**2).clamp(min=0) ** 0.5


def moves(s: NoiseLevel64, t: NoiseLevel64) -> Tensor:
    """Where s and t differ."""
    return (s.alpha != t.alpha) | (s.sigma != t.sigma)


def forward(
    draft: PlanBuilder, x: LinearCombination, a: NoiseLevel64, b: NoiseLevel64, key: Hashable, scale: float = 1.0
) -> LinearCombination:
    """From level a up to the noisier b, by the forward process: (alpha_b / alpha_a) x + scale n z.

    n^2 = sigma_b^2 - (alpha_b / alpha_a)^2 sigma_a^2. Needs alpha_a > 0 where a and b differ.
    """
    ratio = b.alpha / a.alpha
    noise = (b.sigma**2 - ratio**2 * a.sigma**2).clamp(min=0) ** 0.5
    rises = moves(a, b)
    return (ratio * x + scale * noise * draft.noise(key)).where(rises) + x.where(~rises)


def heun(
    draft: PlanBuilder,
    x: LinearCombination,
    s: NoiseLevel64,
    t: NoiseLevel64,
    end: Callable[[LinearCombination, NoiseLevel], LinearCombination] | None = None,
) -> LinearCombination:
    """Heun's step of EDM in rho from the point x at s; Euler's from alpha_s = 0 and to sigma_t = 0.

    end: what is made of the result, draft.step (the default) or draft.point
    """
    end, D, falls = end or draft.step, draft.denoise(x), moves(s, t)
    euler = first_order(draft, x, D, s, t, t.sigma).where(falls) + x.where(~falls)
    inside = regular(s, t) & falls
    if not bool(inside.any()):
        return end(euler, t)
    eps, x_t = (x - s.alpha * D) / s.sigma, draft.point(euler, t)
    eps_t = (x_t - t.alpha * draft.denoise(x_t)) / t.sigma
    return end(x_t + (t.alpha * (t.rho - s.rho) / 2 * (eps_t - eps)).where(inside), t)
