"""The best timesteps of a sampler, by dynamic programming over a grid.

Watson et al. 2021, "Learning to efficiently sample from diffusion probabilistic models", arXiv:2106.03802, section 3.
The error of one step from the reference states is a linear combination of reference states and estimates. The matrix of
their inner products therefore gives the error of every step of every sampler, without further calls of the network. The
search finds the path over the grid with the smallest sum of step errors for a given number of steps.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ..samplers.base import Plan, Sampler
from ..schedulers.base import NoiseLevel64, Schedule
from ..types import NoiseLevel
from .reference import ReferenceSolution


def optimal_levels(
    sampler: Sampler, schedule: Schedule, reference: ReferenceSolution, steps: int
) -> list[NoiseLevel64]:
    """The levels with the smallest sum of step errors, for a sampler with one evaluation per step.

    The error of a step is computed with a history of one estimate; older estimates of a multistep sampler are ignored.

    Args:
        sampler: The sampler.
        schedule: The noise schedule.
        reference: The reference solution.
        steps: Number of steps.

    Returns:
        `steps` + 1 levels in decreasing order; the last is clean.
    """
    levels = reference.levels
    G = len(levels)
    first = _first_costs(sampler, schedule, reference)  # (G + 1,) from the highest level to j
    pairs = _costs(sampler, schedule, reference)  # (G, G, G + 1): the step j -> k after i -> j; k = G is clean
    total = torch.full((G, G), torch.inf, dtype=torch.float64)  # of the best path whose last step is i -> j
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


def _first_costs(sampler: Sampler, schedule: Schedule, reference: ReferenceSolution) -> Tensor:
    """(G + 1,) error of one step from the highest level to each grid level; infinite to itself."""
    G = len(reference.levels)
    j = torch.arange(1, G)
    plan = sampler.plan(schedule, [_select(reference.levels, j * 0), _select(reference.levels, j)])
    cost = torch.full((G + 1,), torch.inf, dtype=torch.float64)
    cost[1:G] = _step_errors(plan, 1, [j * 0], j, reference)
    return cost


def _costs(sampler: Sampler, schedule: Schedule, reference: ReferenceSolution) -> Tensor:
    """(G, G, G + 1) error of the second of two steps i -> j -> k from reference states; infinite unless i < j < k."""
    G = len(reference.levels)
    cost = torch.full((G, G, G + 1), torch.inf, dtype=torch.float64)
    triples = torch.tensor(list(itertools.combinations(range(G), 3)))
    i, j, k = triples.unbind(1)
    plan = sampler.plan(schedule, [_select(reference.levels, n) for n in (i, j, k)])
    cost[i, j, k] = _step_errors(plan, 2, [i, j], k, reference)
    i, j = torch.tensor(list(itertools.combinations(range(G), 2))).unbind(1)
    # A step to clean data ends at the last estimate, so that its error is the error of that estimate.
    clean = schedule.clean()
    ends = NoiseLevel(*(v.expand(len(i)) for v in (clean.t, clean.alpha, clean.sigma)))
    plan = sampler.plan(schedule, [_select(reference.levels, i), _select(reference.levels, j), ends])
    cost[i, j, G] = _step_errors(plan, 2, [i, j], None, reference)
    return cost


def _select(levels: list[NoiseLevel64], index: Tensor) -> NoiseLevel:
    return NoiseLevel(
        *(torch.stack([getattr(level, name) for level in levels])[index] for name in ("t", "alpha", "sigma"))
    )


def _step_errors(plan: Plan, row: int, at: list[Tensor], to: Tensor | None, reference: ReferenceSolution) -> Tensor:
    """Error of a step: root mean square of (the row at reference states and estimates) - (the reference state).

    It is divided by alpha + sigma at the end of the step, so that steps at different noise levels are comparable.

    Args:
        plan: Plan of the steps, with one entry per step that is evaluated.
        row: Row of the plan whose error is computed.
        at: Grid indices of the rows before it.
        to: Grid index of the end of the step; None: the reference result x0.
        reference: The reference solution.
    """
    G, step = len(reference.levels), plan.rows[row]
    symbols, weights = [], []
    like = at[0].double()
    for j, c in step.x.items():
        symbols.append(at[j])
        weights.append(torch.as_tensor(c, dtype=torch.float64) + 0 * like)
    for j, c in step.d.items():
        symbols.append(at[j] + G)
        weights.append(torch.as_tensor(c, dtype=torch.float64) + 0 * like)
    symbols.append(like.long() * 0 + 2 * G if to is None else to)
    weights.append(0 * like - 1)
    total = torch.zeros_like(like)
    for (a, u), (b, v) in itertools.product(zip(symbols, weights, strict=True), repeat=2):
        total = total + u * v * reference.gram[a, b]
    scale = torch.as_tensor(step.level.alpha) + torch.as_tensor(step.level.sigma)
    return total.clamp(min=0).sqrt() / scale
