"""Per-element noise levels: training samples whose parts have different noise levels; some parts are clean.

After diffusion forcing (Chen et al. 2024, arXiv:2407.01392), where every token of a sequence has its own level. Here
the parts of a sample are boxes, which exist for any number of axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..schedulers.base import Schedule
from .base import StepRandomNumbers
from .timestep_sampling.base import TimestepSampling

_BOXES = 3  # largest number of boxes in a sample


def per_element_times(
    t: Tensor,
    spatial: Sequence[int],
    sampling: TimestepSampling,
    schedule: Schedule,
    share: float,
    rng: StepRandomNumbers,
) -> Tensor | None:
    """Times (B, 1, *spatial) from times t (B,): a share of the samples gets one to three boxes with other times.

    A box is clean with probability 1/2; otherwise its time is drawn from the same density. A later box covers an
    earlier one. In half of these samples t is the time outside the boxes. In the other half t is the time of the last
    box, and everything outside the boxes is clean. The random choices are keyed by (seed, row, step), so that a sample
    does not depend on the rest of the batch.

    Args:
        t: Time of each sample, (B,).
        spatial: Size of the diffused tensor along each spatial axis.
        sampling: Density that the boxes' times are drawn from.
        schedule: Noise schedule; gives the time of clean data.
        share: Share of the samples with boxes, 0 to 1.
        rng: Random numbers of the step.

    Returns:
        The times; None if no sample of the batch has boxes, so that each has one level.
    """
    mixed = t.reshape(-1, *[1] * (1 + len(spatial))).repeat(1, 1, *spatial)
    found = False
    for i in range(len(t)):
        draw = rng.generator(i, "mixed levels")
        if draw.random() >= share:
            continue
        found, boxes = True, draw.integers(1, _BOXES + 1)
        if inside := draw.random() < 0.5:
            mixed[i] = schedule.t_clean
        for box in range(boxes):
            clean, u = draw.random() < 0.5, torch.tensor([draw.random()], dtype=torch.float64)
            box_time = schedule.t_clean if clean else float(sampling.sample(u, schedule))
            if inside and box == boxes - 1:
                box_time = float(t[i])
            mixed[(i, 0, *(_interval(draw, n) for n in spatial))] = box_time
    return mixed if found else None


def _interval(draw: np.random.Generator, n: int) -> slice:
    """An interval of n elements, often at an end: length uniform in (0, n], start uniform in (-length, n), clipped."""
    length = n * (1 - draw.random())
    start = draw.uniform(-length, n)
    first = min(max(0, int(start)), n - 1)
    return slice(first, min(max(first + 1, int(np.ceil(start + length))), n))
