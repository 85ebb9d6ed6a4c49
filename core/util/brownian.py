"""A Brownian path that is a function: its value at a point of [0, 1] does not depend on what else was asked.

Levy's construction, as a virtual tree (Li et al. 2020, "Scalable gradients for stochastic differential equations",
section 4): every dyadic interval has one keyed standard normal array, which says how far the path's middle lies from
the line between its ends. A point is reached by halving [0, 1] around it:

    W(u) = u Z + sum over intervals [l, l + w] around u of sqrt(w) / 2 tent((u - l) / w) Z_interval

down to a cell that is small against the distance of u from both ends of [0, 1], where the path is a bridge: one more
array, keyed by u itself, ends the sum. So the law of the values is exactly that of Brownian motion as long as no two
points share a cell (`share_a_cell`), which is to say up to a few hundred points; and no series is cut off.

A gain W(a) - W(b) is therefore one linear combination of keyed arrays, whose coefficients are Python floats: `terms`
gives them, and `Path` draws the arrays of all samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

FINE = 9  # a cell is at most 2^-FINE of its distance from the ends
_SAME = 2.0**42  # points that agree to this many parts are one: the same level, made in two ways

_AT_ONCE = 8  # terms whose arrays are drawn together where samples have intervals of their own

Bound = float | tuple[float, ...]
Terms = dict[Hashable, float]


class Interval(NamedTuple):
    """A key of noise: what a Brownian path on tau gains between two levels, over the root of its length: N(0, I).

    Attributes:
        high: The larger tau; a number for all samples, or one for each.
        low: The smaller tau, likewise.
    """

    high: Bound
    low: Bound


def terms(u: float) -> Terms:
    """W(u) as a linear combination: the key of each standard normal array, and its coefficient."""
    made: Terms = {("path", "end"): u}
    left, width = 0.0, 1.0
    for depth in range(64):
        if u == left or u == left + width:
            return made
        if _is_cell(left, width):
            made[("path", round(u * _SAME))] = _bridge(u - left, width)
            return made
        index, inside = round(left / width), (u - left) / width
        made[("path", depth, index)] = _tent(inside, width)
        width /= 2
        left += width * (inside >= 0.5)
    return made


def gain_terms(high: float, low: float) -> Terms:
    """(W(high) - W(low)) / sqrt(high - low) as a linear combination; empty where the two are one."""
    if high == low:
        return {}
    made, scale = terms(high), (high - low) ** -0.5
    for key, weight in terms(low).items():
        made[key] = made.get(key, 0.0) - weight
    return {key: weight * scale for key, weight in made.items() if weight}


def _tent(inside: float, width: float) -> float:
    """Coefficient of an interval's array at the share `inside` of it: sqrt(w) / 2 at the middle, 0 at the ends."""
    return width**0.5 * min(inside, 1 - inside)


def _bridge(into: float, width: float) -> float:
    """Standard deviation of a Brownian bridge over a cell at the distance `into` from its left end."""
    return (into * (width - into) / width) ** 0.5


class Path:
    """The Brownian paths W on [0, 1], W(0) = 0, of all samples of a batch.

    Args:
        draw: A list of keys -> standard normal arrays (keys, B, *shape), the same for the same key; a key may be a list
            with one key per sample.
    """

    def __init__(self, draw: Callable[[Sequence[Hashable | list[Hashable]]], Tensor]):
        self._draw = draw
        self._kept: dict[Hashable, Tensor] = {}  # arrays of the last gain: the next one shares most of them

    def gained(self, high: Bound, low: Bound) -> Tensor:
        """(W(high) - W(low)) / sqrt(high - low) of every sample, standard normal (B, *shape); 0 where the two are one.

        Args:
            high: A point for all samples, or one for each.
            low: Likewise.
        """
        if isinstance(high, tuple) or isinstance(low, tuple):
            return self._gained_by_sample(high, low)
        return self._combined(gain_terms(float(high), float(low)))

    def value(self, u: float) -> Tensor:
        """W(u) of every sample, (B, *shape)."""
        return self._combined(terms(u))

    def _combined(self, wanted: Terms) -> Tensor:
        new = [key for key in wanted if key not in self._kept]
        drawn = self._draw(new or [("path", "end")])
        arrays = {key: self._kept.get(key) for key in wanted} | dict(zip(new, drawn.unbind(), strict=False))
        self._kept = {key: array for key, array in arrays.items() if array is not None}
        total = torch.zeros_like(drawn[0])
        for key, weight in wanted.items():
            # Product and sum are rounded apart, here and below, so that a row is the same to the last bit in both.
            total += self._kept[key] * weight
        return total

    def _gained_by_sample(self, high: Bound, low: Bound) -> Tensor:
        """Every sample's own combination: term j of all samples is drawn at once, padded with coefficients of 0."""
        highs, lows = (v if isinstance(v, tuple) else None for v in (high, low))
        count = len(highs or lows or ())
        pairs = zip(highs or [high] * count, lows or [low] * count, strict=True)
        own = [list(gain_terms(float(a), float(b)).items()) for a, b in pairs]  # type: ignore[arg-type]
        longest = max(1, max(map(len, own), default=0))
        padded = [row + [(("path", "end"), 0.0)] * (longest - len(row)) for row in own]
        columns = list(zip(*padded, strict=True))
        total: Tensor | None = None
        for first in range(0, longest, _AT_ONCE):
            some = columns[first : first + _AT_ONCE]
            drawn = self._draw([[key for key, _ in column] for column in some])
            weights = sent_weights([[weight for _, weight in column] for column in some], drawn)
            total = torch.zeros_like(drawn[0]) if total is None else total
            for array, weight in zip(drawn, weights, strict=True):
                total += array * weight
        assert total is not None
        return total


def sent_weights(columns: Sequence[Sequence[float]], drawn: Tensor) -> Tensor:
    """Coefficients (terms, B, 1, ...) on the device of arrays (terms, B, *shape)."""
    made = torch.tensor(columns, dtype=drawn.dtype).reshape(*drawn.shape[:2], *[1] * (drawn.ndim - 2))
    return made.pin_memory().to(drawn.device, non_blocking=True) if drawn.is_cuda else made.to(drawn.device)


def share_a_cell(u: float, v: float) -> bool:
    """Whether two points of [0, 1] are too near each other for the construction."""
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
