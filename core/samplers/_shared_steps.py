"""Operations shared by several samplers: ancestral levels, the forward process, Heun's step in rho."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from ._coefficients import first_order_step
from ._numbers import Mask, any_true, safe_sqrt, select_by_mask, select_combination
from ._stages import has_finite_lambda
from .plan import Float64, LinearCombination, PlanBuilder, PlanLevel


def kept_noise_share(eta: Float64, h: Float64) -> Float64:
    """e^(-eta h): the share of the old noise that the reverse SDE of strength eta keeps; 1 at eta = 0."""
    return select_by_mask(eta == 0, 1.0, np.exp(-eta * h))


def ancestral_level(s: PlanLevel, t: PlanLevel, eta: float) -> PlanLevel:
    """The level of an ancestral step from s to t before noise is added: alpha_t, and sigma_d <= sigma_t.

    sigma_d = sigma_t sqrt(1 - eta^2 (1 - q^2)), q = rho_t / rho_s. (alpha_t, sigma_d) is not a level of the schedule,
    but x / alpha_t is a point of the ODE at rho = sigma_d / alpha_t.
    """
    q = t.rho * (s.alpha / s.sigma)
    sigma = t.sigma * safe_sqrt(1 - eta * eta * (1 - q * q))
    return PlanLevel(t.t, t.alpha, select_by_mask(levels_differ(s, t), sigma, t.sigma))


def added_noise_std(d: PlanLevel, t: PlanLevel) -> Float64:
    """Standard deviation of the noise from d to t at the same alpha: sqrt(sigma_t^2 - sigma_d^2)."""
    return safe_sqrt(t.sigma * t.sigma - d.sigma * d.sigma)


def levels_differ(s: PlanLevel, t: PlanLevel) -> Mask:
    """Where s and t differ."""
    return (s.alpha != t.alpha) | (s.sigma != t.sigma)


def add_forward_noise(
    builder: PlanBuilder, x: LinearCombination, a: PlanLevel, b: PlanLevel, key: Hashable, scale: float = 1.0
) -> LinearCombination:
    """From level a to the noisier level b by the forward process: (alpha_b / alpha_a) x + scale n z.

    n^2 = sigma_b^2 - (alpha_b / alpha_a)^2 sigma_a^2. Requires alpha_a > 0 where a and b differ.
    """
    ratio = b.alpha / a.alpha
    noise = safe_sqrt(b.sigma * b.sigma - ratio * ratio * (a.sigma * a.sigma))
    return select_combination(levels_differ(a, b), x * ratio + builder.noise(key) * (scale * noise), x)


def heun_step(
    builder: PlanBuilder,
    x: LinearCombination,
    s: PlanLevel,
    t: PlanLevel,
    end: Callable[[LinearCombination, PlanLevel], LinearCombination] | None = None,
) -> LinearCombination:
    """Heun's step of EDM in rho from the point x at s (Karras et al. 2022, arXiv:2206.00364, algorithm 1).

    x_t = x_euler + alpha_t (rho_t - rho_s) / 2 (eps_t - eps_s), eps = (x - alpha D) / sigma; an Euler step from alpha_s
    = 0 and to sigma_t = 0.

    Args:
        builder: The plan builder.
        x: The point at s.
        s: The level at which the step starts.
        t: The level at which it ends.
        end: How the result is recorded: builder.step (the default) or builder.point.
    """
    end, D, falls = end or builder.step, builder.denoise(x), levels_differ(s, t)
    euler = select_combination(falls, first_order_step(builder, x, D, s, t, t.sigma), x)
    inside = has_finite_lambda(s, t) & falls
    if not any_true(inside):
        return end(euler, t)
    eps, x_t = (x - D * s.alpha) / s.sigma, builder.point(euler, t)
    eps_t = (x_t - builder.denoise(x_t) * t.alpha) / t.sigma
    return end(x_t + ((eps_t - eps) * (t.alpha * (t.rho - s.rho) / 2)).masked(inside), t)
