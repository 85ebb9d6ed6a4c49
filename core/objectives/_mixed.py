"""Per-element noise levels: training samples whose parts lie at different levels, some of them clean.

After diffusion forcing (Chen et al. 2024, arXiv:2407.01392), where every token of a sequence has a level of its own;
here the parts of a sample are boxes, which serve any number of axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import StepRandom
from .timestep_sampling.base import TimestepSampling

_BOXES = 3  # most boxes of a sample


def mixed_times(
    t: Tensor, spatial: Sequence[int], sampling: TimestepSampling, schedule: Schedule, share: float, rng: StepRandom
) -> Tensor | None:
    """Times (B, 1, *spatial) from times t (B,): a share of the samples is painted with one to three boxes.

    A box is clean, with probability 1/2, or at a time from the same density; a later box covers an earlier one. In half
    of these samples t is the time of all that lies outside, in the other half that of the last box, and what lies
    outside is clean. What is drawn is keyed by (seed, row, step), so it does not depend on the rest of the batch.

    Returns:
        None where no sample of the batch has boxes: each then has one level.
    """
    mixed = t.reshape(-1, *[1] * (1 + len(spatial))).repeat(1, 1, *spatial)
    chosen = False
    for i in range(len(t)):
        draw = rng.generator(i, "mixed levels")
        if draw.random() >= share:
            continue
        chosen, boxes = True, draw.integers(1, _BOXES + 1)
        if inside := draw.random() < 0.5:
            mixed[i] = schedule.t_clean
        for box in range(boxes):
            clean, u = draw.random() < 0.5, torch.tensor([draw.random()], dtype=torch.float64)
            own = schedule.t_clean if clean else float(sampling.sample(u, schedule))
            if inside and box == boxes - 1:
                own = float(t[i])
            mixed[(i, 0, *(_interval(draw, n) for n in spatial))] = own
    return mixed if chosen else None


def _interval(draw: np.random.Generator, n: int) -> slice:
    """A part of n elements, often at an end: length uniform in (0, n], start uniform in (-length, n), cut to fit."""
    length = n * (1 - draw.random())
    start = draw.uniform(-length, n)
    first = min(max(0, int(start)), n - 1)
    return slice(first, min(max(first + 1, int(np.ceil(start + length))), n))
