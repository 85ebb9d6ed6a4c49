"""What a sampler is: schedule and levels -> a plan, which one loop runs.

A sampler is written like the algorithm of its paper, on symbols:

    x = draft.start()
    for s, t in draft.pairs():                        # NoiseLevel s -> NoiseLevel t
        D = draft.denoise(x)                          # an estimate of x0, evaluated at x's own level
        x = draft.step((t.sigma / s.sigma) * x + (t.alpha - s.alpha * t.sigma / s.sigma) * D, t)

`draft` records rows x_i = sum_j a_j x_j + sum_j b_j D_j + sum_k n_k z_k. The coefficients are float64 numbers that are
known before the first call of the network, so the loop (`run`) only adds tensors: no state, no look-up of a time, no
host-device synchronisation, and a plan can be stored, inspected and tested without a network.

While a plan is made, levels are float64 tensors: 0-dimensional, or maps, (B,) or (B, 1, *spatial). Write samplers with
torch functions (`affine.where(mask)`, not `if`) on them, and both work; a constant map then gives bit for bit what the
number gives, provided that only +, -, *, /, squares, square roots, exp and log are used (general powers round
differently when they are vectorised). An element of a map whose level stays keeps its value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput, Conditioning, Denoiser, NoiseLevel
from ..util.rng import Noise
from .plan import LinearCombination, Plan, PlanBuilder, Row, Symbol, Terms

__all__ = [
    "LinearCombination",
    "Plan",
    "PlanBuilder",
    "Progress",
    "Row",
    "Sampler",
    "Solution",
    "Symbol",
    "points",
    "run",
]


class Sampler(ABC):
    """A solver of the reverse process. It holds options only: `plan` is a pure function of schedule and levels.

    order:          order of convergence of the deterministic method: the error falls as step^order; None: stochastic
    stochastic:     whether it draws noise on the way
    keeps_marginal: whether a perfect estimate of x0 gives every point its level's sigma of noise; a method that by
                    design does not says so here
    adaptive:       whether `solve` chooses the levels between the first and the last by itself, as it goes; `plan` is
                    then the method's step on levels that are given
    converges:      whether what it makes of an exact denoiser tends to the data as steps grow; a method for distilled
                    networks, whose output is a sample and not a mean, says so here
    """

    order: int | None = None
    stochastic: bool = False
    keeps_marginal: bool = True
    adaptive: bool = False
    converges: bool = True

    @abstractmethod
    def draft(self, draft: PlanBuilder) -> None:
        """Write the method's rows: `draft.start`, then one `draft.step` for every pair of levels."""

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel], rising: bool = False) -> Plan:
        """The rows for these levels (float64, falling, usually ending clean). Raises BadInput unless they suit."""
        draft = PlanBuilder(schedule, levels, rising)
        self.draft(draft)
        return draft.finish()

    def solve(
        self,
        schedule: Schedule,
        levels: Sequence[NoiseLevel],
        denoiser: Denoiser,
        x: Tensor,
        conditions: Conditioning | None = None,
        noise: Noise | Mapping[Hashable, Tensor] | None = None,
        on_step: Callable[[Progress], None] | None = None,
    ) -> Solution:
        """From x (B, C, *spatial) at levels[0] to levels[-1]: makes the plan and runs it; the rest is as in `run`."""
        plan = self.plan(schedule, levels)
        return Solution(run(plan, denoiser, x, conditions, noise, on_step), (plan.nfe,) * len(x))


@dataclass(frozen=True)
class Solution:
    """The last point of a sampler, and what it cost.

    x:   (B, C, *spatial)
    nfe: evaluations of the denoiser that each sample took
    """

    x: Tensor
    nfe: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """What a callback sees where a step ends.

    step:  steps ended so far; `steps` is how many there will be, None where an adaptive sampler cannot tell
    level: where x is; an adaptive sampler's samples are each at their own, (B,) or a map
    x, x0: the points and the latest estimates, (B, C, *spatial)
    nfe:   evaluations so far of each sample
    """

    step: int
    steps: int | None
    level: NoiseLevel
    x: Tensor
    x0: Tensor | None
    nfe: tuple[int, ...]


def run(
    plan: Plan,
    denoiser: Denoiser,
    x: Tensor,
    conditions: Conditioning | None = None,
    noise: Noise | Mapping[Hashable, Tensor] | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Tensor:
    """Run a plan from x (B, C, *spatial), a point at the plan's first level, and return the last point.

    noise:   the keyed noise of the batch, or a mapping key -> (B, C, *spatial) of noises drawn before
    on_step: called where a step ends, with the latest estimate of x0
    """
    steps, done, nfe, last = sum(row.step for row in plan.rows), 0, 0, x
    for row, last, x0 in points(plan, denoiser, x, conditions, noise):
        nfe += row.evaluate
        if row.step:
            done += 1
            if on_step is not None:
                on_step(Progress(done, steps, row.level, last, x0, (nfe,) * len(x)))
    return last


def points(
    plan: Plan,
    denoiser: Denoiser,
    x: Tensor,
    conditions: Conditioning | None = None,
    noise: Noise | Mapping[Hashable, Tensor] | None = None,
) -> Iterator[tuple[Row, Tensor, Tensor | None]]:
    """The loop: (row, point, latest estimate of x0) for every row of a plan as it is made; arguments as in `run`."""
    conditions = Conditioning() if conditions is None else conditions
    x0 = None
    values: dict[Symbol, Tensor] = {("x", 0): x}
    for i, (row, level, terms) in enumerate(plan.bound(x)):
        if i:
            for key in row.z:
                if ("z", key) not in values:
                    values["z", key] = _drawn(noise, key)
            values["x", i] = x = _total(terms, values, x)
            for symbol in row.last:
                del values[symbol]
        if row.evaluate:
            estimate = denoiser.denoise(x, level, conditions)
            values["D", i] = x0 = estimate.x0
            if estimate.x is not None:
                values["x", i] = estimate.x
        yield row, x, x0


def _drawn(noise: Noise | Mapping[Hashable, Tensor] | None, key: Hashable) -> Tensor:
    if noise is None:
        raise BadInput("this sampler draws noise: give `noise`")
    return noise.normal("sampler", key) if isinstance(noise, Noise) else noise[key]


def _total(terms: Terms, values: Mapping[Symbol, Tensor], like: Tensor) -> Tensor:
    """sum_j c_j value_j, accumulated in place into one new tensor.

    A number and a map take different kernels that round alike: both multiply and add in one rounding.
    """
    out: Tensor | None = None
    for symbol, c in terms:
        value = values[symbol]
        if out is None:
            out = value * c
        elif isinstance(c, Tensor):
            out.addcmul_(value, c)
        else:
            out.add_(value, alpha=c)
    return torch.zeros_like(like) if out is None else out
