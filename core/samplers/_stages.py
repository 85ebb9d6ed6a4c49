"""What single-step methods share: levels inside a step, and the velocity on the bounded clock tau.

With u = x / (alpha + sigma) and tau = sigma / (alpha + sigma) the probability-flow ODE is du/dtau = v = E[eps - x0 | x]
on every schedule. tau is bounded, and v = (x - (alpha + sigma) D) / sigma is defined from alpha = 0 on, though not at
sigma = 0: no stage may lie there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedulers.base import NoiseLevel64, Schedule
from ._coefficients import log_step
from .base import LinearCombination


def on_tau(schedule: Schedule, s: NoiseLevel64, t: NoiseLevel64, share: Tensor | float) -> NoiseLevel64:
    """The level at tau_s + share (tau_t - tau_s); s itself, to the bit, where s and t are one."""
    (data_s, noise_s), (data_t, noise_t) = _mix(s), _mix(t)
    noise = noise_s + share * (noise_t - noise_s)
    return _between(schedule, s, t, noise / (data_s + share * (data_t - data_s)))


def on_lambda(schedule: Schedule, s: NoiseLevel64, t: NoiseLevel64, share: float, else_on_tau: float) -> NoiseLevel64:
    """The level at lambda_s + share h; where h is infinite (alpha_s = 0, sigma_t = 0), `else_on_tau` of the way on tau.

    share: a half is the geometric mean of rho_s and rho_t
    """
    tau = on_tau(schedule, s, t, else_on_tau)
    rho = t.rho * torch.exp((1 - share) * log_step(s, t))
    return _between(schedule, s, t, torch.where(regular(s, t), rho, tau.rho))


def regular(s: NoiseLevel64, t: NoiseLevel64) -> Tensor:
    """Where lambda is finite at both ends of a step."""
    return (s.alpha > 0) & (t.sigma > 0)


def velocity(x: LinearCombination, D: LinearCombination, at: NoiseLevel64) -> LinearCombination:
    """v = E[eps - x0 | x] = (x - (alpha + sigma) D) / sigma, for sigma > 0."""
    return (x - (at.alpha + at.sigma) * D) / at.sigma


def drift(x: LinearCombination, s: NoiseLevel64, t: NoiseLevel64, v: LinearCombination) -> LinearCombination:
    """x at t after a straight line in u from x at s: u_t = u_s + (tau_t - tau_s) v."""
    return (t.alpha + t.sigma) * (x / (s.alpha + s.sigma) + (t.tau - s.tau) * v)


def _mix(level: NoiseLevel64) -> tuple[Tensor, Tensor]:
    """(1 - tau, tau), both to full precision."""
    return level.alpha / (level.alpha + level.sigma), level.tau


def _between(schedule: Schedule, s: NoiseLevel64, t: NoiseLevel64, rho: Tensor) -> NoiseLevel64:
    """The schedule's level at rho; an element whose level stays keeps exactly that."""
    stays = (s.alpha == t.alpha) & (s.sigma == t.sigma)
    if not stays.ndim:
        return schedule.level_of_rho(rho)
    made = schedule.level_of_rho(torch.where(stays, 1.0, rho))
    pairs = ((s.t, made.t), (s.alpha, made.alpha), (s.sigma, made.sigma))
    return NoiseLevel64(*(torch.where(stays, own, new) for own, new in pairs))
