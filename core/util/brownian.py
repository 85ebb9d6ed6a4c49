"""A Brownian path as a function: its value at a point of [0, 1] does not depend on which other points are evaluated.

Levy's construction as a virtual Brownian tree (Li et al. 2020, "Scalable gradients for stochastic differential
equations", section 4): every dyadic interval has one keyed standard normal array, which gives the difference between
the path's midpoint and the line between its ends. [0, 1] is halved around the point u:

    W(u) = u Z + sum over intervals [l, l + w] around u of sqrt(w) / 2 tent((u - l) / w) Z_interval

until the interval is a cell: small compared with the distance of u from both ends of [0, 1]. Inside a cell the path is
a Brownian bridge, and one more array, keyed by u itself, is the last term. The values therefore have exactly the
distribution of Brownian motion if no two points are in the same cell (`is_same_cell`), which holds for up to a few
hundred points. No series is truncated.

An increment W(a) - W(b) is one linear combination of keyed arrays with Python floats as coefficients: `path_terms`
returns them, and `BrownianPath` draws the arrays of all samples together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

FINE = 9  # a cell is at most 2^-FINE of its distance from the ends
_SAME = 2.0**42  # points that differ by less than 1 / _SAME are equal: the same level, computed in two ways

_TERMS_PER_DRAW = 8  # terms whose arrays are drawn together if samples have different intervals

Bound = float | tuple[float, ...]
Terms = dict[Hashable, float]


class BrownianIncrementKey(NamedTuple):
    """A key of noise: the increment of a Brownian path over tau between two levels.

    It stands for (W(high) - W(low)) / sqrt(high - low), whose distribution is N(0, I).

    Attributes:
        high: The larger tau; one number for all samples, or one for each sample.
        low: The smaller tau, likewise.
    """

    high: Bound
    low: Bound


def path_terms(u: float) -> Terms:
    """W(u) as a linear combination: the key of each standard normal array, and its coefficient."""
    found: Terms = {("path", "end"): u}
    left, width = 0.0, 1.0
    for depth in range(64):
        if u == left or u == left + width:
            return found
        if _is_cell(left, width):
            found[("path", round(u * _SAME))] = _bridge(u - left, width)
            return found
        index, inside = round(left / width), (u - left) / width
        found[("path", depth, index)] = _tent(inside, width)
        width /= 2
        left += width * (inside >= 0.5)
    return found


def increment_terms(high: float, low: float) -> Terms:
    """(W(high) - W(low)) / sqrt(high - low) as a linear combination; empty if the two points are equal."""
    if high == low:
        return {}
    difference, scale = path_terms(high), (high - low) ** -0.5
    for key, weight in path_terms(low).items():
        difference[key] = difference.get(key, 0.0) - weight
    return {key: weight * scale for key, weight in difference.items() if weight}


def _tent(inside: float, width: float) -> float:
    """Coefficient of an interval's array at the fraction `inside` of it: sqrt(w) / 2 in the middle, 0 at the ends."""
    return width**0.5 * min(inside, 1 - inside)


def _bridge(into: float, width: float) -> float:
    """Standard deviation of a Brownian bridge over a cell at the distance `into` from its left end."""
    return (into * (width - into) / width) ** 0.5


class BrownianPath:
    """The Brownian paths W on [0, 1], W(0) = 0, of all samples of a batch.

    Args:
        draw: Function from a list of keys to standard normal arrays (keys, B, *shape), equal for equal keys. A key may
            be a list with one key for each sample.
    """

    def __init__(self, draw: Callable[[Sequence[Hashable | list[Hashable]]], Tensor]):
        self._draw = draw
        self._kept: dict[Hashable, Tensor] = {}  # arrays of the last increment: the next one shares most of them

    def increment(self, high: Bound, low: Bound) -> Tensor:
        """(W(high) - W(low)) / sqrt(high - low) of every sample: standard normal (B, *shape); 0 for equal points.

        Args:
            high: One point for all samples, or one for each sample.
            low: Likewise.
        """
        if isinstance(high, tuple) or isinstance(low, tuple):
            return self._increment_by_sample(high, low)
        return self._combined(increment_terms(float(high), float(low)))

    def _combined(self, wanted: Terms) -> Tensor:
        new = [key for key in wanted if key not in self._kept]
        drawn = self._draw(new or [("path", "end")])
        arrays = {key: self._kept.get(key) for key in wanted} | dict(zip(new, drawn.unbind(), strict=False))
        self._kept = {key: array for key, array in arrays.items() if array is not None}
        total = torch.zeros_like(drawn[0])
        for key, weight in wanted.items():
            # Product and sum are rounded separately, here and below, so that both give a row bit for bit.
            total += self._kept[key] * weight
        return total

    def _increment_by_sample(self, high: Bound, low: Bound) -> Tensor:
        """A linear combination for each sample: term j of all samples is drawn together, padded with coefficients 0."""
        highs, lows = (v if isinstance(v, tuple) else None for v in (high, low))
        count = len(highs or lows or ())
        pairs = zip(highs or [high] * count, lows or [low] * count, strict=True)
        rows = [list(increment_terms(float(a), float(b)).items()) for a, b in pairs]  # type: ignore[arg-type]
        longest = max(1, max(map(len, rows), default=0))
        padded = [row + [(("path", "end"), 0.0)] * (longest - len(row)) for row in rows]
        columns = list(zip(*padded, strict=True))
        total: Tensor | None = None
        for first in range(0, longest, _TERMS_PER_DRAW):
            some = columns[first : first + _TERMS_PER_DRAW]
            drawn = self._draw([[key for key, _ in column] for column in some])
            weights = weights_on_device([[weight for _, weight in column] for column in some], drawn)
            total = torch.zeros_like(drawn[0]) if total is None else total
            for array, weight in zip(drawn, weights, strict=True):
                total += array * weight
        assert total is not None
        return total


def weights_on_device(columns: Sequence[Sequence[float]], drawn: Tensor) -> Tensor:
    """Coefficients as a tensor (terms, B, 1, ...) on the device of the arrays `drawn` (terms, B, *shape)."""
    weights = torch.tensor(columns, dtype=drawn.dtype).reshape(*drawn.shape[:2], *[1] * (drawn.ndim - 2))
    return weights.pin_memory().to(drawn.device, non_blocking=True) if drawn.is_cuda else weights.to(drawn.device)


def is_same_cell(u: float, v: float) -> bool:
    """Whether two points of [0, 1] are in the same cell, too close to each other for the construction."""
    left, width = 0.0, 1.0
    for _ in range(64):
        if _is_cell(left, width):
            return True
        width /= 2
        sides = [p >= left + width for p in (u, v)]
        if sides[0] != sides[1]:
            return False
        left += width * sides[0]
    return True


def _is_cell(left: float, width: float) -> bool:
    return width * 2**FINE <= min(left + width, 1 - left)
