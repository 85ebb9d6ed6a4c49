"""The best times of a sampler by dynamic programming over a grid (Watson et al. 2021, arXiv:2106.03802, section 3).

A step's error is measured from the exact points and estimates: it is a known combination of them, so one matrix of
their inner products prices every step of every sampler, without calling the network again. The errors of the steps add
up; the search finds the path over the grid with the least sum for a given number of steps.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ..samplers.base import Plan, Sampler
from ..schedulers.base import NoiseLevel64, Schedule
from ..types import NoiseLevel
from .reference import FineSolution


def best_times(sampler: Sampler, schedule: Schedule, reference: FineSolution, steps: int) -> list[NoiseLevel64]:
    """The levels, noisiest first and clean last, of the least sum of step errors for a method of one evaluation a step.

    A step may look back on one estimate; what a sampler does with older ones is not priced.
    """
    levels = reference.levels
    G = len(levels)
    first = _first_costs(sampler, schedule, reference)  # (G,) from the noisiest level to j
    pairs = _costs(sampler, schedule, reference)  # (G, G, G + 1): to k after j after i; k = G is clean
    total = torch.full((G, G), torch.inf, dtype=torch.float64)  # of a path whose last step went from i to j
    total[0] = first[:G]
    if steps == 1:
        return [levels[0], schedule.clean()]
    back: list[Tensor] = []
    for _ in range(steps - 2):
        total, arg = (total[:, :, None] + pairs[:, :, :G]).min(0)
        back.append(arg)
    end = total + pairs[:, :, G]
    i, j = divmod(int(end.argmin()), G)
    path = [j, i]
    for arg in reversed(back):
        path.append(int(arg[path[-1], path[-2]]))
    return [*(levels[k] for k in reversed(path)), schedule.clean()]


def _first_costs(sampler: Sampler, schedule: Schedule, reference: FineSolution) -> Tensor:
    """(G + 1,) error of one step from the noisiest level to each level of the grid; infinite to itself."""
    G = len(reference.levels)
    j = torch.arange(1, G)
    plan = sampler.plan(schedule, [_picked(reference.levels, j * 0), _picked(reference.levels, j)])
    cost = torch.full((G + 1,), torch.inf, dtype=torch.float64)
    cost[1:G] = _priced(plan, 1, [j * 0], j, reference)
    return cost


def _costs(sampler: Sampler, schedule: Schedule, reference: FineSolution) -> Tensor:
    """(G, G, G + 1) error of the second of two steps i -> j -> k, begun at the exact points; infinite where i < j < k
    does not hold."""
    G = len(reference.levels)
    cost = torch.full((G, G, G + 1), torch.inf, dtype=torch.float64)
    triples = torch.tensor(list(itertools.combinations(range(G), 3)))
    i, j, k = triples.unbind(1)
    plan = sampler.plan(schedule, [_picked(reference.levels, n) for n in (i, j, k)])
    cost[i, j, k] = _priced(plan, 2, [i, j], k, reference)
    i, j = torch.tensor(list(itertools.combinations(range(G), 2))).unbind(1)
    # To clean the step's end is the last estimate: what it lacks is the error of the estimate there.
    clean = schedule.clean()
    ends = NoiseLevel(*(v.expand(len(i)) for v in (clean.t, clean.alpha, clean.sigma)))
    plan = sampler.plan(schedule, [_picked(reference.levels, i), _picked(reference.levels, j), ends])
    cost[i, j, G] = _priced(plan, 2, [i, j], None, reference)
    return cost


def _picked(levels: list[NoiseLevel64], index: Tensor) -> NoiseLevel:
    return NoiseLevel(
        *(torch.stack([getattr(level, name) for level in levels])[index] for name in ("t", "alpha", "sigma"))
    )


def _priced(plan: Plan, row: int, at: list[Tensor], to: Tensor | None, reference: FineSolution) -> Tensor:
    """Root mean square of (row's combination of exact points and estimates at the grid indices `at`) - (exact point).

    In units of alpha + sigma at the end, where the flow neither shrinks nor stretches what noise there is.
    """
    G, made = len(reference.levels), plan.rows[row]
    symbols, weights = [], []
    like = at[0].double()
    for j, c in made.x.items():
        symbols.append(at[j])
        weights.append(torch.as_tensor(c, dtype=torch.float64) + 0 * like)
    for j, c in made.d.items():
        symbols.append(at[j] + G)
        weights.append(torch.as_tensor(c, dtype=torch.float64) + 0 * like)
    symbols.append(like.long() * 0 + 2 * G if to is None else to)
    weights.append(0 * like - 1)
    total = torch.zeros_like(like)
    for (a, u), (b, v) in itertools.product(zip(symbols, weights, strict=True), repeat=2):
        total = total + u * v * reference.gram[a, b]
    scale = torch.as_tensor(made.level.alpha) + torch.as_tensor(made.level.sigma)
    return total.clamp(min=0).sqrt() / scale
