"""Which noise a step draws: fresh, or what one Brownian path in tau gains over it.

Fresh noise is keyed by the number of the step, so a run of 20 steps and one of 40 see different noise. The path's is
keyed by the step's interval of tau: the same seed follows the same path at any number of steps, on any schedule. The
exact noise of a step is a weighted integral of dW over it; its unweighted increment stands for that, normalised to the
exact variance: the law of the noise is exact, and its tie to the path is off by O(step). So finer steps converge to one
solution of the SDE where the share of noise that a step replaces shrinks with the step. From alpha = 0 that does not
hold for er_sde: rho falls from infinity, the first step replaces all noise however short it is, and runs of N and 2 N
steps stay as far apart at N = 40 as at N = 20, although their law converges.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from ..types import BadInput
from ..util.brownian import Interval, share_a_cell
from .plan import Float64, PlanLevel

Kind = Literal["path", "step"]


def check_noise(name: str, noise: str) -> None:
    """Refuse a kind of noise that there is not."""
    if noise not in ("path", "step"):
        raise BadInput(f"{name}'s noise is path (one Brownian path for any number of steps) or step, not {noise!r}")


def step_keys(levels: Sequence[PlanLevel], noise: str) -> list[Hashable]:
    """A noise key for every neighbouring pair of levels: an Interval of tau, or ("step", i).

    Levels (B,) give every sample its own intervals. A map gives a sample the intervals of its median element: its other
    elements see independent noise, too, but not the path that they would see alone. Where the path does not serve
    (levels nearer each other than its cells, a median that waits while elements move) all keys are the steps'.
    """
    rows, maps = [_rows(level.tau) for level in levels], any(level.tau.ndim > 1 for level in levels)
    if noise == "path" and all(_serves(high, low, maps) for high, low in pairwise(rows)):
        return [Interval(_bound(high), _bound(low)) for high, low in pairwise(rows)]
    return [("step", i) for i in range(len(levels) - 1)]


def _rows(tau: Float64) -> list[float]:
    """tau of each sample, that of the median element where it is a map; one number where no sample has its own."""
    if not tau.ndim:
        return [float(tau)]
    ordered = np.sort(tau.reshape(len(tau), -1), axis=1)
    return ordered[:, (ordered.shape[1] - 1) // 2].tolist()


def _serves(high: list[float], low: list[float], maps: bool) -> bool:
    return all((a == b and not maps) or (a > b and not share_a_cell(a, b)) for a, b in zip(high, low, strict=True))


def _bound(row: list[float]) -> float | tuple[float, ...]:
    return row[0] if all(v == row[0] for v in row) else tuple(row)
