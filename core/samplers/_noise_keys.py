"""The noise of a step: independent, or the increment of one Brownian path in tau.

Independent noise is keyed by the number of the step, so runs of 20 and of 40 steps use different noise. The noise of a
path is keyed by the step's interval of tau: the same seed follows the same path at any number of steps, on any
schedule. The exact noise of a step is a weighted integral of dW over its interval. It is replaced by the unweighted
increment, normalised to the exact variance: the distribution of the noise is exact, and its difference from the path is
O(step). Finer steps therefore converge to one solution of the SDE where the share of noise that a step replaces
decreases with the step. From alpha = 0 this is not the case for er_sde: rho decreases from infinity, so the first step
replaces all noise at any step length, and runs of N and 2 N steps differ as much at N = 40 as at N = 20, although their
distribution converges.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from ..types import BadInput
from ..util.brownian import BrownianIncrementKey, is_same_cell
from .plan import Float64, PlanLevel

NoiseKind = Literal["path", "step"]


def check_noise_kind(name: str, noise: str) -> None:
    """Raise BadInput for an unknown kind of noise."""
    if noise not in ("path", "step"):
        raise BadInput(f"{name}'s noise is path (one Brownian path for any number of steps) or step, not {noise!r}")


def step_noise_keys(levels: Sequence[PlanLevel], noise: str) -> list[Hashable]:
    """A noise key for every pair of consecutive levels: an Interval of tau, or ("step", i).

    Levels (B,) give every sample its own intervals. A map gives a sample the intervals of its median element: its other
    elements also receive independent noise, but not the path that they would follow alone. Where the path cannot be
    used (consecutive levels in the same cell of the path, or a median that does not change while other elements do),
    all keys are those of the steps.
    """
    rows, maps = [_rows(level.tau) for level in levels], any(level.tau.ndim > 1 for level in levels)
    if noise == "path" and all(_usable(high, low, maps) for high, low in pairwise(rows)):
        return [BrownianIncrementKey(_bound(high), _bound(low)) for high, low in pairwise(rows)]
    return [("step", i) for i in range(len(levels) - 1)]


def _rows(tau: Float64) -> list[float]:
    """tau of each sample (of a map: of its median element); one number where all samples have the same level."""
    if not tau.ndim:
        return [float(tau)]
    ordered = np.sort(tau.reshape(len(tau), -1), axis=1)
    return ordered[:, (ordered.shape[1] - 1) // 2].tolist()


def _usable(high: list[float], low: list[float], maps: bool) -> bool:
    return all((a == b and not maps) or (a > b and not is_same_cell(a, b)) for a, b in zip(high, low, strict=True))


def _bound(row: list[float]) -> float | tuple[float, ...]:
    return row[0] if all(v == row[0] for v in row) else tuple(row)
