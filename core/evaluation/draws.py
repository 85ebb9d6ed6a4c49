"""Which rows are compared: samples, real examples, and other real examples that stand beside the samples.

A draw names three sets of rows: samples, a reference of real examples, and other real examples that are not in the
reference, as many as samples and of the same classes. The metric of samples to reference is the value, that of the
others to the reference is the floor, so whatever number and classes do to a metric, they do to both.

- Enough held-out examples, features that know nothing of the training data: the value is that of all samples to all
  held-out examples; for the floor, reference and others are drawn anew from all real examples, as in a permutation
  test, so that its spread holds what either set varies by.
- Enough held-out examples, features learned on the training data (which are no measure for it): halves of the samples
  and of the held-out examples in each draw.
- Too few held-out examples: the same with halves of all real examples.

Source: Gretton et al. 2012, "A kernel two-sample test", section 5 (the null distribution by permutation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..types import BadInput
from .adapter import ENOUGH
from .metrics.base import Metric, bootstrap

MOST = 2000
"""Rows of a set in a draw at the most: the cost grows with the square, and the floor tells what the number does."""
LEAST = 8  # examples of a side; fewer tell nothing
FLOORS = 40  # draws of real examples against real ones

Rows = np.ndarray
Measure = Callable[["Set", "Set"], float]


@dataclass(frozen=True)
class Set:
    """Features (N, d) and labels (N,) of one side; -1: no class."""

    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, rows: np.ndarray) -> Set:
        """Some of it."""
        return Set(self.rows[rows], self.labels[rows])

    @property
    def told(self) -> bool:
        """Every example has a class."""
        return not (self.labels < 0).any()

    def untold(self) -> Set:
        """The same without classes."""
        return Set(self.rows, np.full_like(self.labels, -1))

    def joined(self, other: Set) -> Set:
        """Both, one after the other."""
        return Set(np.concatenate([self.rows, other.rows]), np.concatenate([self.labels, other.labels]))


class Draw(NamedTuple):
    """Rows of one comparison: of the samples; of other real examples, of the same classes; of the reference."""

    made: np.ndarray
    other: np.ndarray
    reference: np.ndarray


@dataclass(frozen=True)
class Draws:
    """Which rows are compared.

    pool:  all real examples that may be drawn
    value: what is compared where it is the same in every draw, else None: then each draw of `floors` gives a value
    what:  in words
    """

    made: Set
    pool: Set
    value: Draw | None
    floors: list[Draw]
    what: str

    @property
    def sizes(self) -> tuple[int, int]:
        """How many samples and how many real examples are compared at a time."""
        first = self.some[0]
        return len(first.made), len(first.reference)

    @property
    def some(self) -> list[Draw]:
        """The draws that give values."""
        return self.floors if self.value is None else [self.value]

    def values(self, measure: Measure) -> list[float]:
        """The distance of samples to real examples, a value a draw; one where the draws do not differ."""
        return [measure(self.made.pick(d.made), self.pool.pick(d.reference)) for d in self.some]

    def of_floors(self, measure: Measure) -> list[float]:
        """The distance of real examples to real examples, a value a draw."""
        return [measure(self.pool.pick(d.other), self.pool.pick(d.reference)) for d in self.floors]

    def interval(self, measure: Measure, metric: Metric, value: float, repeats: int) -> tuple[float, float]:
        """A 95 % interval around `value`: halves of both sets, which vary as the whole sets would."""
        if self.value is None:
            found = np.array(self.values(measure))
            low, high = np.quantile(found, [0.025, 0.975]) - found.mean()
            return value + float(low), value + float(high)
        m, _, r = self.value
        groups = (self.made.labels[m], self.pool.labels[r])
        rng = np.random.default_rng(0)
        return bootstrap(metric, self.made.rows[m], self.pool.rows[r], repeats, rng, groups=groups)


def draws(made: Set, train: Set, held: Set | None, learned: bool, repeats: int) -> Draws:
    """See the module; no set of a draw has more than `MOST` rows.

    Classes count where every example of every side is told its own, and where at least 8 samples in a draw have other
    real examples of their classes to stand beside; else all sides are taken as without classes, and `what` says so.

    Raises BadInput for fewer than 8 samples or real examples.
    """
    count = len(train) + (0 if held is None else len(held))
    if min(len(made), count) < LEAST:
        raise BadInput(
            f"{len(made)} samples and {count} real examples: distances need {LEAST} of each; more, to mean anything"
        )
    given = [made, train] if held is None else [made, train, held]
    sides, note = all_told(*given), ""
    if sides[0].told:
        found, few = _drawn(sides, learned, repeats)
        if not few:
            return found
        sides = [side.untold() for side in sides]
        note = "; classes are not matched, since too few other real examples have those of the samples"
    elif any((side.labels >= 0).any() for side in given):
        note = "; classes are not matched, since not every example's is told"
    found, _ = _drawn(sides, learned, repeats)
    return replace(found, what=found.what + note)


def _drawn(sides: list[Set], learned: bool, repeats: int) -> tuple[Draws, bool]:
    """The draws, and whether matching the classes leaves too few samples in one of them."""
    rng = np.random.default_rng(0)
    made, train, held = sides[0], sides[1], sides[2] if len(sides) > 2 else None
    known = train if held is None else train.joined(held)
    enough = held is not None and len(held) >= ENOUGH
    if held is not None and enough and not learned and len(train) >= LEAST:
        reference = _thinned(len(train) + np.arange(len(held)), MOST, rng)
        wanted = known.labels[reference]
        floors, m = [], rng.permutation(len(made))[:MOST]
        asked = min(len(m), len(known) - len(reference))
        for _ in range(FLOORS):
            drawn = _like(wanted, known.labels, np.arange(len(known)), rng)
            m, other = _matched(made.labels, m, known.labels, _without(len(known), drawn), rng)
            floors.append(Draw(m, other, drawn))
        value = Draw(m, floors[-1].other, reference)
        who = _left(len(m), asked, made.told)
        what = f"{who} against {len(reference)} held-out examples; beside, {FLOORS} draws of as many real ones"
        return Draws(made, known, value, floors, what), len(m) < min(LEAST, asked)
    pool = held if held is not None and enough else known
    half = min(MOST, len(pool) // 2)
    n = min(half, len(made) // 2 if len(made) >= 2 * LEAST else len(made))
    floors = []
    for _ in range(repeats):
        reference, rest = halves(pool.labels, half, rng)
        chosen = _half_of(made.labels, n, rng)
        floors.append(Draw(*_matched(made.labels, chosen, pool.labels, rest, rng), reference))
    which = "held-out examples" if enough else "all real examples, training ones too, since few are held out"
    each = [len(d.made) for d in floors]
    mean = round(float(np.mean(each)))
    who = _left(mean, n, made.told)
    what = f"{who} against {half} of {len(pool)} {which}; beside, {mean} of the others; {repeats} draws"
    return Draws(made, pool, None, floors, what), min(each) < min(LEAST, n)


def all_told(*sides: Set) -> list[Set]:
    """The sides as they are; all without classes where one has an example of none: else what classes do to a distance
    would be done to some sides alone."""
    return list(sides) if all(side.told for side in sides) else [side.untold() for side in sides]


def _left(n: int, asked: int, told: bool) -> str:
    """How many samples are compared, and of how many where matching the classes leaves some out."""
    if not told or n >= asked:
        return f"{n} samples"
    return f"{n} of {asked} samples (the others' classes have too few real examples)"


def _thinned(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    return rows if len(rows) <= most else np.sort(rng.permutation(rows)[:most])


def _without(count: int, rows: Rows) -> Rows:
    left = np.ones(count, bool)
    left[rows] = False
    return np.flatnonzero(left)


def _like(wanted: np.ndarray, labels: np.ndarray, rows: Rows, rng: np.random.Generator) -> Rows:
    """Random ones of `rows` with the classes of `wanted`, as far as there are enough of each."""
    order = rng.permutation(rows)
    if (wanted < 0).any() or (labels < 0).any():
        return order[: len(wanted)]
    parts = [order[labels[order] == c][: int((wanted == c).sum())] for c in np.unique(wanted)]
    return np.concatenate([order[:0], *parts])


def _matched(
    own: np.ndarray, chosen: Rows, labels: np.ndarray, rows: Rows, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Samples out of `chosen` and real examples out of `rows`: as many, and of the same classes, where these are told.

    Of a class that has fewer real examples left than samples, samples are left out.
    """
    if (own < 0).any() or (labels < 0).any():
        n = min(len(chosen), len(rows))
        return chosen[:n], rng.permutation(rows)[:n]
    other = _like(own[chosen], labels, rows, rng)
    return _like(labels[other], own, chosen, rng), other


def halves(labels: np.ndarray, half: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """A random half, with about half of each class, thinned to `half` rows; and all the others."""
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    first, second = rng.permutation(by_class[0::2]), rng.permutation(by_class[1::2])
    return second[:half], first


def _half_of(labels: np.ndarray, n: int, rng: np.random.Generator) -> Rows:
    """n random rows, about as many of each class as a half has."""
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    return by_class[np.linspace(0, len(by_class), n, endpoint=False).astype(int)]
