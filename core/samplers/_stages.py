"""Shared by single-step methods: levels inside a step, and the velocity in the bounded time tau.

With u = x / (alpha + sigma) and tau = sigma / (alpha + sigma) the probability-flow ODE is du/dtau = v = E[eps - x0 | x]
on every schedule. tau is bounded, and v = (x - (alpha + sigma) D) / sigma is defined at alpha = 0 but not at sigma = 0,
so no stage may be at sigma = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ._coefficients import lambda_step
from ._numbers import Mask, select_by_mask
from .plan import Float64, LinearCombination, PlanBuilder, PlanLevel

Steps = Iterable[tuple[PlanLevel, PlanLevel]]  # (s, t)


def stage_levels_in_tau(
    builder: PlanBuilder, steps: Steps, share: Float64 | Callable[[PlanLevel, PlanLevel], Float64]
) -> list[PlanLevel]:
    """For each step the level at tau_s + share (tau_t - tau_s); exactly s where s and t are equal.

    Args:
        builder: The plan builder.
        steps: (s, t) of each step.
        share: Fraction of the step in tau, or a function (s, t) -> fraction.
    """
    steps = list(steps)
    shares = [share(s, t) if callable(share) else share for s, t in steps]
    return _between(builder, steps, [_rho_on_tau(s, t, own) for (s, t), own in zip(steps, shares, strict=True)])


def stage_levels_in_lambda(builder: PlanBuilder, steps: Steps, share: float, else_on_tau: float) -> list[PlanLevel]:
    """For each step the level at lambda_s + share h; in tau where h is infinite (alpha_s = 0, sigma_t = 0).

    Args:
        builder: The plan builder.
        steps: (s, t) of each step.
        share: Fraction of the step in lambda; one half is the geometric mean of rho_s and rho_t.
        else_on_tau: Fraction of the step in tau where lambda is infinite.
    """
    steps = list(steps)

    def rho(s: PlanLevel, t: PlanLevel) -> Float64:
        geometric = t.rho * np.exp((1 - share) * lambda_step(s, t))
        return select_by_mask(has_finite_lambda(s, t), geometric, _rho_on_tau(s, t, else_on_tau))

    return _between(builder, steps, [rho(s, t) for s, t in steps])


def has_finite_lambda(s: PlanLevel, t: PlanLevel) -> Mask:
    """Where lambda is finite at both ends of a step."""
    return (s.alpha > 0) & (t.sigma > 0)


def flow_velocity(x: LinearCombination, D: LinearCombination, at: PlanLevel) -> LinearCombination:
    """v = E[eps - x0 | x] = (x - (alpha + sigma) D) / sigma, for sigma > 0."""
    return (x - D * (at.alpha + at.sigma)) / at.sigma


def velocity_step(x: LinearCombination, s: PlanLevel, t: PlanLevel, v: LinearCombination) -> LinearCombination:
    """x at t after a straight line in u from x at s: u_t = u_s + (tau_t - tau_s) v."""
    return (x / (s.alpha + s.sigma) + v * (t.tau - s.tau)) * (t.alpha + t.sigma)


def _rho_on_tau(s: PlanLevel, t: PlanLevel, share: Float64) -> Float64:
    """rho at a fraction of the step in tau, from (1 - tau, tau), both in full precision."""
    data_s, data_t = s.alpha / (s.alpha + s.sigma), t.alpha / (t.alpha + t.sigma)
    return (s.tau + share * (t.tau - s.tau)) / (data_s + share * (data_t - data_s))


def _between(
    builder: PlanBuilder, steps: Sequence[tuple[PlanLevel, PlanLevel]], rhos: list[Float64]
) -> list[PlanLevel]:
    """The schedule's levels at rho; an element whose level does not change keeps exactly this level."""
    stays = [(s.alpha == t.alpha) & (s.sigma == t.sigma) for s, t in steps]
    made = builder.levels_of_rho([select_by_mask(own, 1.0, rho) for own, rho in zip(stays, rhos, strict=True)])
    return [s.where(own, m) for own, (s, _), m in zip(stays, steps, made, strict=True)]
