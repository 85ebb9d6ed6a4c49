"""DPM-Solver-12 and -23 with adaptive steps (Lu et al. 2022, arXiv:2206.00927), on estimates of x0.

error = || (x_high - x_low) / max(atol, rtol |x|) ||_rms

Two solutions of neighbouring orders share their evaluations; their difference estimates the error of the lower order. A
step is accepted where this error is small, and it determines the length of the next step, as in k-diffusion's
`sample_dpm_adaptive` (the controller: Soderlind 2003, "Digital filters in adaptive time-stepping"). Every sample has
its own error, step length and levels, so the result does not depend on the batch. On estimates of x0 the formulas are
those of DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095), 1, 2S and 3S.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel, broadcast_like
from ._coefficients import first_order_step, lambda_step
from ._exponential import exponential_moments
from ._numbers import select_combination
from ._stages import flow_velocity, has_finite_lambda, stage_levels_in_lambda, stage_levels_in_tau, velocity_step
from .base import PlannedSampler
from .plan import LinearCombination, PlanBuilder, PlanLevel
from .solver import Solution, SolverInputs, StepProgress, iterate_plan


class DPMAdaptive(PlannedSampler):
    """DPM-Solver-12 or -23 with a step length per sample that keeps its error within the tolerances.

    Only the first and the last of `levels` are used (a recipe's `steps` and `timesteps` have no effect between them). A
    step takes `order` evaluations, one fewer after a rejected step. Steps are fractions of the interval in tau, so the
    solution may start at alpha = 0 and end at sigma = 0. There, where lambda is infinite, the pair is a Runge-Kutta
    pair in tau of the same orders: Euler and midpoint, or midpoint and Ralston's third-order method. The errors are
    copied to the host once per trial step. A guidance that stores earlier estimates also sees those of rejected steps.

    Args:
        order: 2 (pair of orders 1 and 2) or 3 (orders 2 and 3).
        rtol: Error allowed per step relative to |x| / (alpha + sigma).
        atol: Error allowed per step in units of the data's standard deviation.
        first: Length of the first trial step, as a fraction of the interval in tau.
        p: Proportional coefficient of the controller; above 0 step lengths vary more smoothly.
        i: Integral coefficient of the controller.
        safety: A step is rejected if the next step would be shorter than this fraction of it.
        trials: Largest number of trial steps; then the tolerances count as unreachable.
    """

    adaptive = True

    def __init__(
        self,
        order: int = 3,
        rtol: float = 0.05,
        atol: float = 0.0078,
        first: float = 0.05,
        p: float = 0.0,
        i: float = 1.0,
        safety: float = 0.81,
        trials: int = 1000,
    ):
        if order not in (2, 3):
            raise BadInput(f"dpm_adaptive's order is 2 or 3, not {order}")
        if rtol < 0 or atol <= 0:
            raise BadInput(f"dpm_adaptive needs rtol of at least 0 and atol above 0, not {rtol} and {atol}")
        if not 0 < first <= 1:
            raise BadInput(
                f"dpm_adaptive's first step is a fraction of the interval in tau, above 0 and at most 1, not {first}"
            )
        if p < 0 or i <= 0:
            raise BadInput(f"dpm_adaptive's controller needs p of at least 0 and i above 0, not {p} and {i}")
        if not 0 < safety < 1:
            raise BadInput(f"dpm_adaptive's safety lies between 0 and 1, not {safety}")
        self.order = self.pair_order = order
        self.rtol, self.atol, self.first = rtol, atol, first
        self.p, self.i, self.safety, self.trials = p, i, safety, trials

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for s, t in builder.pairs():
            x = builder.step(self.pair(builder, x, s, t)[1], t)

    def pair(
        self, builder: PlanBuilder, x: LinearCombination, s: PlanLevel, t: PlanLevel
    ) -> tuple[LinearCombination, LinearCombination]:
        """Two solutions at t from x at s that share their evaluations: of orders `order` - 1 and `order`."""
        return (_pair_12 if self.order == 2 else _pair_23)(builder, x, s, t)

    def integrate(self, schedule: Schedule, levels: Sequence[NoiseLevel], inputs: SolverInputs) -> Solution:
        """Solve from levels[0] to levels[-1] within the tolerances; draws no noise.

        `on_step` is called after every trial step that at least one sample accepted.

        Raises:
            BadInput: The tolerances are not reached in `trials` trial steps.
            ArithmeticError: An estimate is not finite.
        """
        denoiser, x, conditions, on_step = inputs.denoiser, inputs.x, inputs.conditions, inputs.on_step
        path = _Path(PlanBuilder(schedule, levels))
        control = _Control(self, len(x))
        nfe, steps, first_estimate = torch.zeros(len(x), dtype=torch.long), 0, None
        for _ in range(self.trials):
            s, t = path.at(control.done), path.at(control.aim)
            if first_estimate is None:
                first_estimate = denoiser.denoise(x, s.exact(x), conditions)
                nfe += control.moved & control.running
            low, high, x0 = self._trial(schedule, s, t, _KnownFirst(denoiser, first_estimate), x, conditions)
            nfe += (self.pair_order - 1) * control.running
            error = self._error(low, high, x, path, (s, t), conditions)
            accepted = control.judge(error.double().cpu())
            if bool(accepted.any()):
                accepted_map = accepted.to(x.device).reshape(-1, *[1] * (x.ndim - 1))
                x, x0, first_estimate, steps = (
                    torch.where(accepted_map, high, x),
                    torch.where(accepted_map, x0, first_estimate.x0),
                    None,
                    steps + 1,
                )
                if on_step is not None:
                    on_step(StepProgress(steps, None, path.at(control.done), x, x0, tuple(nfe.tolist())))
                if not bool(control.running.any()):
                    return Solution(x, tuple(nfe.tolist()))
        raise BadInput(f"dpm_adaptive does not reach its tolerances in {self.trials} steps: raise rtol or atol")

    def _trial(
        self, schedule: Schedule, s: NoiseLevel, t: NoiseLevel, denoiser: Denoiser, x: Tensor, conditions: Conditioning
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Both solutions at t, and the last estimate of x0."""
        builder = PlanBuilder(schedule, [s, t])
        with np.errstate(all="ignore"):
            low, high = self.pair(builder, builder.start(), *builder.levels)
        builder.point(low, t)
        builder.step(high, t)
        (_, low, _), (_, high, x0) = deque(iterate_plan(builder.finish(), denoiser, x, conditions), maxlen=2)
        assert x0 is not None, "a pair evaluates the denoiser"
        return low, high, x0

    def _error(
        self,
        low: Tensor,
        high: Tensor,
        x: Tensor,
        path: _Path,
        ends: tuple[NoiseLevel, NoiseLevel],
        conditions: Conditioning,
    ) -> Tensor:
        """(B,): |x_high - x_low| / tolerance, root mean square over a sample's valid elements whose level changes."""
        before, after = (1 / broadcast_like(level.alpha + level.sigma, x) for level in ends)
        low, high, x = low.detach() * after, high.detach() * after, x.detach() * before
        allowed = (self.rtol * torch.maximum(low.abs(), x.abs())).clamp(min=self.atol)
        counts = broadcast_like(path.moves.to(x.dtype), x)
        if conditions.valid is not None:
            counts = counts * conditions.valid
        squares, counts = ((high - low) / allowed).square() * counts, torch.ones_like(x) * counts
        return (squares.flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=1)).sqrt()


class _Path:
    """The level of each sample after a fraction (B,) of the interval in tau from the first to the last level."""

    def __init__(self, builder: PlanBuilder):
        self.builder, self.first, self.last = builder, builder.levels[0], builder.levels[-1]
        self.moves = torch.as_tensor(self.first.tau != self.last.tau)

    def at(self, fractions: Tensor) -> NoiseLevel:
        fraction = fractions.reshape(-1, *[1] * (self.moves.ndim - 1)).numpy()
        with np.errstate(all="ignore"):
            (inner,) = stage_levels_in_tau(self.builder, [(self.first, self.last)], fraction)
        fields = zip(*((a.t, a.alpha, a.sigma) for a in (self.first, self.last, inner)), strict=True)
        return PlanLevel(*(np.where(fraction == 0, a, np.where(fraction == 1, b, c)) for a, b, c in fields)).plain()


class _Control:
    """The position and next trial step of each sample, as fractions of the interval: (B,) float64 on the host."""

    def __init__(self, options: DPMAdaptive, count: int):
        self.options = options
        self.done = torch.zeros(count, dtype=torch.float64)
        self.step = torch.full_like(self.done, options.first)
        self.before: Tensor | None = None  # log of the inverse error of the last accepted step
        self.moved = torch.ones(count, dtype=torch.bool)  # samples whose last step was accepted

    @property
    def running(self) -> Tensor:
        return self.done < 1

    @property
    def aim(self) -> Tensor:
        """End of the next step; a remainder below a hundredth of a step is merged into the step."""
        return torch.where(self.done + 1.01 * self.step >= 1, 1.0, self.done + self.step)

    def judge(self, error: Tensor) -> Tensor:
        """Which samples accept their step, (B,); also sets the length of the next step."""
        if not bool(torch.isfinite(error[self.running]).all()):
            raise ArithmeticError("dpm_adaptive received an estimate that is not finite")
        options, aim = self.options, self.aim
        now = -torch.log(error + 1e-8)
        before = now if self.before is None else self.before
        factor = torch.exp(((options.p + options.i) * now - options.p * before) / options.pair_order)
        factor = 1 + torch.atan(factor - 1)
        self.moved = self.running & (factor >= options.safety)
        self.step = (aim - self.done) * factor
        self.before = torch.where(self.moved, now, before)
        self.done = torch.where(self.moved, aim, self.done)
        return self.moved


class _KnownFirst:
    """A denoiser whose first estimate is known: a repeated trial step starts from the same estimate."""

    def __init__(self, denoiser: Denoiser, first: Estimate):
        self.denoiser, self.first = denoiser, [first]

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        return self.first.pop() if self.first else self.denoiser.denoise(x, level, conditions)


def _pair_12(
    builder: PlanBuilder, x: LinearCombination, s: PlanLevel, t: PlanLevel
) -> tuple[LinearCombination, LinearCombination]:
    """DPM-Solver++-1 and -2S with the estimate at the middle of the step; in tau, Euler and the midpoint rule."""
    D, m = builder.denoise(x), stage_levels_in_lambda(builder, [(s, t)], 1 / 2, else_on_tau=1 / 2)[0]
    low = first_order_step(builder, x, D, s, t, t.sigma)
    x_m = builder.point(first_order_step(builder, x, D, s, m, m.sigma), m)
    D_m = builder.denoise(x_m)
    (psi_0,) = exponential_moments(lambda_step(s, t), 1)
    return low, _either(s, t, low + t.alpha * psi_0 * (D_m - D), velocity_step(x, s, t, flow_velocity(x_m, D_m, m)))


def _pair_23(
    builder: PlanBuilder, x: LinearCombination, s: PlanLevel, t: PlanLevel
) -> tuple[LinearCombination, LinearCombination]:
    """DPM-Solver++-2S with the estimate at a third of the step, and -3S; in tau, midpoint and Ralston's third order."""
    m, n = (stage_levels_in_lambda(builder, [(s, t)], r, else_on_tau=c)[0] for r, c in ((1 / 3, 1 / 2), (2 / 3, 3 / 4)))
    D, first = builder.denoise(x), first_order_step(builder, x, builder.denoise(x), s, t, t.sigma)
    x_m = builder.point(first_order_step(builder, x, D, s, m, m.sigma), m)
    D_m = builder.denoise(x_m)
    v, v_m = flow_velocity(x, D, s), flow_velocity(x_m, D_m, m)
    bend = n.alpha * exponential_moments(lambda_step(s, n), 2)[1] * 2.0 * (D_m - D)  # r_2 / r_1 = 2
    x_n = builder.point(
        _either(s, t, first_order_step(builder, x, D, s, n, n.sigma) + bend, velocity_step(x, s, n, v_m)), n
    )
    D_n = builder.denoise(x_n)
    v_n = flow_velocity(x_n, D_n, n)
    psi_0, psi_1 = exponential_moments(lambda_step(s, t), 2)
    low = first + t.alpha * psi_0 * 1.5 * (D_m - D)  # 1 / (2 r_1)
    high = first + t.alpha * psi_1 * 1.5 * (D_n - D)  # 1 / r_2
    return (
        _either(s, t, low, velocity_step(x, s, t, v_m)),
        _either(s, t, high, velocity_step(x, s, t, (v * 2 + v_m * 3 + v_n * 4) / 9)),
    )


def _either(s: PlanLevel, t: PlanLevel, in_lambda: LinearCombination, in_tau: LinearCombination) -> LinearCombination:
    """`in_lambda` where lambda is finite at both ends of the step, else `in_tau`."""
    return select_combination(has_finite_lambda(s, t), in_lambda, in_tau)
