"""Distances between samples and real data, each beside what real data reaches against real data.

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
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..evaluation.base import Features, Metric, bootstrap
from ..evaluation.frechet import Frechet
from ..evaluation.mmd import MMD, median_distance
from ..evaluation.precision_recall import PrecisionRecall
from ..types import BadInput
from .types import ENOUGH, Beside, Figure

MOST = 2000
"""Rows of a set in a draw at the most: the cost grows with the square, and the floor tells what the number does."""
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
    """See the module; no set of a draw has more than `MOST` rows. Raises BadInput for fewer than 8 samples or real
    examples."""
    rng = np.random.default_rng(0)
    known = train if held is None else train.joined(held)
    if min(len(made), len(known)) < 8:
        raise BadInput(
            f"{len(made)} samples and {len(known)} real examples: distances need 8 of each; more, to mean anything"
        )
    enough = held is not None and len(held) >= ENOUGH
    if held is not None and enough and not learned:
        reference = _thinned(len(train) + np.arange(len(held)), MOST, rng)
        wanted = known.labels[reference]
        floors, m = [], rng.permutation(len(made))[:MOST]
        for _ in range(FLOORS):
            drawn = _like(wanted, known.labels, np.arange(len(known)), rng)
            m, other = _matched(made.labels, m, known.labels, _without(len(known), drawn), rng)
            floors.append(Draw(m, other, drawn))
        n = len(m)
        what = f"{n} samples against {len(reference)} held-out examples; beside, {FLOORS} draws of as many real ones"
        return Draws(made, known, Draw(m, floors[-1].other, reference), floors, what)
    pool = held if held is not None and enough else known
    half = min(MOST, len(pool) // 2)
    n = min(half, len(made) // 2 if len(made) >= 16 else len(made))
    floors = []
    for _ in range(repeats):
        reference, rest = _halves(pool.labels, half, rng)
        chosen = _half_of(made.labels, n, rng)
        floors.append(Draw(*_matched(made.labels, chosen, pool.labels, rest, rng), reference))
    which = "held-out examples" if enough else "all real examples, training ones too, since few are held out"
    n = round(float(np.mean([len(d.made) for d in floors])))
    what = f"{n} samples against {half} of {len(pool)} {which}; beside, {n} of the others; {repeats} draws"
    return Draws(made, pool, None, floors, what)


def _thinned(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    return rows if len(rows) <= most else np.sort(rng.permutation(rows)[:most])


def _without(count: int, rows: Rows) -> Rows:
    left = np.ones(count, bool)
    left[rows] = False
    return np.flatnonzero(left)


def _like(wanted: np.ndarray, labels: np.ndarray, rows: Rows, rng: np.random.Generator) -> Rows:
    """Random ones of `rows` with the classes of `wanted`, as far as there are enough of each."""
    order = rng.permutation(rows)
    if wanted.min() < 0 or labels.min() < 0:
        return order[: len(wanted)]
    return np.concatenate([order[labels[order] == c][: int((wanted == c).sum())] for c in np.unique(wanted)])


def _matched(
    own: np.ndarray, chosen: Rows, labels: np.ndarray, rows: Rows, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Samples out of `chosen` and real examples out of `rows`: as many, and of the same classes, where these are told.

    Of a class that has fewer real examples left than samples, samples are left out.
    """
    if own.min() < 0 or labels.min() < 0:
        n = min(len(chosen), len(rows))
        return chosen[:n], rng.permutation(rows)[:n]
    other = _like(own[chosen], labels, rows, rng)
    return _like(labels[other], own, chosen, rng), other


def _halves(labels: np.ndarray, half: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
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


def measured(
    found: Draws, repeats: int, real: str, many: str, codec: Callable[[Measure], Beside] | None = None
) -> list[Figure]:
    """MMD, Frechet distance, precision, recall and coverage with what stands beside them.

    real: what stands beside, in words; many: what the examples are called
    codec: what real examples reach that went through the codec, where that is known
    """
    n, m = found.sizes
    reference = found.some[0].reference
    mmd = MMD(median_distance(found.pool.rows if found.value is None else found.pool.rows[reference]))
    frechet = Frechet()

    def by_class(a: Set, b: Set) -> float:
        return 1000 * mmd(a.rows, b.rows, (a.labels, b.labels))

    def plain_mmd(g: Features, r: Features) -> float:
        return 1000 * mmd(g, r)

    out = [
        _distance("mmd", "MMD x 1000", by_class, plain_mmd, found, repeats, real, many, codec),
        _distance(
            "frechet",
            f"Frechet distance, N = {n}",
            lambda a, b: frechet(a.rows, b.rows),
            frechet,
            found,
            repeats,
            real,
            many,
        ),
    ]
    if min(n, m) <= 10:
        return out
    shares = PrecisionRecall(k=5 if m > 20 else 3)
    values = np.array([shares.shares(found.made.rows[d.made], found.pool.rows[d.reference]) for d in found.some[:20]])
    floors = np.array([shares.shares(found.pool.rows[d.other], found.pool.rows[d.reference]) for d in found.floors])
    told = (
        ("precision", f"share of samples that lie among real {many}: quality"),
        ("recall", f"share of real {many} that lie among samples: variety"),
        ("coverage", f"share of real {many} that have a sample near them: variety, outliers aside"),
    )
    for i, (key, means) in enumerate(told):
        beside = _range(real, floors[:, i])
        out.append(Figure(key, key, float(values[:, i].mean()), "{:.1%}", None, (beside,), means))
    return out


def _range(name: str, values: np.ndarray) -> Beside:
    """The mean of the draws, and the range that 95 % of them lie in."""
    low, high = (float(q) for q in np.quantile(values, [0.025, 0.975]))
    return Beside(name, float(values.mean()), low, high)


def _distance(
    key: str,
    name: str,
    measure: Measure,
    metric: Metric,
    found: Draws,
    repeats: int,
    real: str,
    many: str,
    codec: Callable[[Measure], Beside] | None = None,
) -> Figure:
    value = float(np.mean(found.values(measure)))
    beside = _range(real, np.array(found.of_floors(measure)))
    others = (beside,) if codec is None else (beside, codec(measure))
    interval = found.interval(measure, metric, value, repeats)
    return Figure(key, name, value, "{:.3g}", interval, others, verdict(key, value, beside, many))


def verdict(key: str, value: float, beside: Beside, many: str) -> str:
    """What a distance says, in a line."""
    assert beside.low is not None and beside.high is not None
    if value < beside.low:
        return f"closer to the real {many} than these are to each other: look for copies"
    if value <= beside.high:
        return f"no difference from real {many} can be seen at this number"
    if key == "mmd":
        times = (value - beside.value) / max(beside.high - beside.value, 1e-9)
        return f"above chance by {times:.3g} times what real {many} vary by; the expected value does not fall with N"
    times = value / max(beside.value, 1e-12)
    return f"{times:.1f} times the real {many}' own; falls with N, so compare at this N alone"


def through_codec(coded: Set, known: Set, name: str, repeats: int = FLOORS) -> Callable[[Measure], Beside]:
    """For a distance, what real examples reach after the codec: halves of `coded` to the other halves of `known`, the
    same examples in the same order, since against itself an example would be too near."""

    def beside(measure: Measure) -> Beside:
        rng, values = np.random.default_rng(0), []
        for _ in range(repeats):
            one, other = _halves(known.labels, len(known) // 2, rng)
            values.append(measure(coded.pick(other), known.pick(one)))
        return _range(name, np.array(values))

    return beside
