"""Jumps back up, as rows of a plan (Lugmayr et al. 2022, "RePaint", arXiv:2201.09865, figure 9 and algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..samplers.base import Progress, Sampler, Solution, run
from ..samplers.plan import Plan, Row, with_last_uses
from ..schedulers.base import Schedule
from ..types import BadInput, Conditioning, Denoiser, NoiseLevel, Number
from ..util.rng import Noise


class Again(NamedTuple):
    """A key of noise that a stretch uses when it is walked again: independent of that of its other walks."""

    stretch: int
    walk: int
    key: Hashable


class Resampled(Sampler):
    """Walks every `jump` steps of a sampler `times` times: at their end, up again by the forward process.

    x_b = (alpha_b / alpha_a) x_a + n z, n^2 = sigma_b^2 - (alpha_b / alpha_a)^2 sigma_a^2. The last stretch, which ends
    clean, is walked once. A multistep method begins anew with every walk. Costs about `times` times the evaluations.

    sampler: what each stretch is walked by
    jump:    steps in a stretch
    times:   walks of each
    """

    stochastic = True

    def __init__(self, sampler: Sampler, jump: int = 4, times: int = 2):
        if jump < 1 or times < 1:
            raise BadInput(f"resampling jumps 1 step or more and walks once or more, not {jump} and {times}")
        if sampler.adaptive:
            raise BadInput("resampling jumps by steps, and an adaptive sampler has none of its own: choose another")
        self.sampler, self.jump, self.times = sampler, jump, times

    def draft(self, draft) -> None:
        raise BadInput("resampling joins the plans of another sampler")

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The stretches' plans, joined."""
        rows: list[Row] = []
        last = len(levels) - 1
        for n, first in enumerate(range(0, last, self.jump)):
            end = min(first + self.jump, last)
            plan = self.sampler.plan(schedule, levels[first : end + 1])
            for walk in range(self.times if end < last else 1):
                if walk:
                    rows.append(_up(rows[-1].level, levels[first], len(rows) - 1, Again(n, walk, "up")))
                rows = _appended(rows, plan, lambda key, n=n, walk=walk: Again(n, walk, key))
        return with_last_uses(rows)

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
        """As any sampler's; each walk draws noise of its own, a Brownian path of its own included."""
        plan = self.plan(schedule, levels)
        drawn = _Walks(noise) if isinstance(noise, Noise) else noise
        return Solution(run(plan, denoiser, x, conditions, drawn, on_step), (plan.nfe,) * len(x))


class _Walks(Mapping[Hashable, Tensor]):
    """The keyed noise of every walk of every stretch."""

    def __init__(self, noise: Noise):
        self.noise = noise

    def __getitem__(self, key: Hashable) -> Tensor:
        if not isinstance(key, Again):
            raise KeyError(key)
        return self.noise.normal(f"sampler {key.stretch} {key.walk}", key.key)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _up(at: NoiseLevel, to: NoiseLevel, row: int, key: Hashable) -> Row:
    """The forward process from the last row up to a noisier level; elements whose level stays keep their value."""
    a, b = (torch.as_tensor(v, dtype=torch.float64) for v in (at.alpha, to.alpha))
    s, t = (torch.as_tensor(v, dtype=torch.float64) for v in (at.sigma, to.sigma))
    ratio = b / a
    fresh = (t**2 - ratio**2 * s**2).clamp(min=0) ** 0.5
    level = NoiseLevel(*(_plain(torch.as_tensor(v, dtype=torch.float64)) for v in (to.t, to.alpha, to.sigma)))
    return Row(level, {row: _plain(ratio)}, {}, {key: _plain(fresh)})


def _plain(value: Tensor) -> Number:
    return value.item() if value.ndim == 0 else value


def _appended(rows: list[Row], plan: Plan, named: Callable[[Hashable], Hashable]) -> list[Row]:
    """The rows, then those of a plan that starts at the last of them; its noises get names of their own."""
    if not rows:
        first, base = [replace(plan.rows[0])], 0
    else:
        base = len(rows) - 1
        first = [*rows[:-1], replace(rows[-1], evaluate=plan.rows[0].evaluate)]
    made = [
        Row(
            row.level,
            {base + j: c for j, c in row.x.items()},
            {base + j: c for j, c in row.d.items()},
            {named(key): c for key, c in row.z.items()},
            row.evaluate,
            row.step,
        )
        for row in plan.rows[1:]
    ]
    return [*first, *made]
