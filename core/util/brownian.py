"""A Brownian path that is a function: its value at a point of [0, 1] does not depend on what else was asked.

Levy's construction, as a virtual tree (Li et al. 2020, "Scalable gradients for stochastic differential equations",
section 4): every dyadic interval has one keyed standard normal array, which says how far the path's middle lies from
the line between its ends. A point is reached by halving [0, 1] around it:

    W(u) = u Z + sum over intervals [l, l + w] around u of sqrt(w) / 2 tent((u - l) / w) Z_interval

down to a cell that is small against the distance of u from both ends of [0, 1], where the path is a bridge: one more
array, keyed by u itself, ends the sum. So the law of the values is exactly that of Brownian motion as long as no two
points share a cell (`share_a_cell`), which is to say up to a few hundred points; and no series is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np

FINE = 9  # a cell is at most 2^-FINE of its distance from the ends
_SAME = 2.0**42  # points that agree to this many parts are one: the same level, made in two ways


class Interval(NamedTuple):
    """A key of noise: what a Brownian path on tau gains between two levels, over the root of its length: N(0, I).

    high, low: values of tau; a number for all samples, or one for each
    """

    high: float | tuple[float, ...]
    low: float | tuple[float, ...]


class Path:
    """W on [0, 1] with W(0) = 0, an array at every point.

    draw: key -> standard normal array, the same for the same key
    """

    def __init__(self, draw: Callable[[Hashable], np.ndarray]):
        self._draw = draw
        self._end = np.asarray(draw(("path", "end")))
        self._down: list[tuple[int, np.ndarray]] = []  # intervals around the last point, largest first
        self._last: dict[float, np.ndarray] = {}  # the two values asked for last

    def gained(self, high: float, low: float) -> np.ndarray:
        """(W(high) - W(low)) / sqrt(high - low), standard normal; 0 where the two are one."""
        first, second = self.value(high), self.value(low)
        return (first - second) / (high - low) ** 0.5 if high != low else np.zeros_like(first)

    def value(self, u: float) -> np.ndarray:
        """W(u) in float64."""
        if u not in self._last:
            made = self._made(u)
            self._last = {k: self._last[k] for k in list(self._last)[-1:]} | {u: made}
        return self._last[u]

    def _made(self, u: float) -> np.ndarray:
        total, left, width = u * self._end.astype(np.float64), 0.0, 1.0
        for depth in range(64):
            if u == left or u == left + width:
                return total
            if _is_cell(left, width):
                around = ((u - left) * (left + width - u) / width) ** 0.5
                return total + around * self._draw(("path", round(u * _SAME))).astype(np.float64)
            index, inside = round(left / width), (u - left) / width
            total += np.multiply(self._interval(depth, index), width**0.5 * min(inside, 1 - inside), dtype=np.float64)
            width /= 2
            left += width * (inside >= 0.5)
        return total

    def _interval(self, depth: int, index: int) -> np.ndarray:
        """The array of interval `index` of those of width 2^-depth; neighbouring points share the large ones."""
        if depth < len(self._down) and self._down[depth][0] == index:
            return self._down[depth][1]
        del self._down[depth:]
        self._down.append((index, np.asarray(self._draw(("path", depth, index)))))
        return self._down[depth][1]


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
