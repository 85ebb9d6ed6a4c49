"""Distances between samples and real data, each beside what real data reaches against real data.

What is compared with what follows from the data (`Draws`):

- enough held-out examples, features that know nothing of the training data: all samples against all held-out examples,
  beside as many training examples, with the samples' classes, against the same held-out ones, in many draws;
- enough held-out examples, features learned on the training data (which are no measure for it): half of the samples
  against half of the held-out examples, beside the other half of these, in many draws;
- too few held-out examples: the same with halves of all real examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..evaluation.base import Metric, bootstrap
from ..evaluation.frechet import Frechet
from ..evaluation.mmd import MMD, median_distance
from ..evaluation.precision_recall import PrecisionRecall
from ..types import BadInput
from .types import Beside, Figure

ENOUGH = 100
"""Held-out examples from which on they alone stand for the real data."""
FLOORS = 40  # draws of training examples against held-out ones

Rows = np.ndarray


@dataclass(frozen=True)
class Set:
    """Features (N, d) and labels (N,) of one side; -1: no class."""

    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def joined(self, other: Set) -> Set:
        """Both, one after the other."""
        return Set(np.concatenate([self.rows, other.rows]), np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class Draws:
    """Which rows are compared: `made` with `reference`, and `other` real ones with `reference` as the floor.

    whole:  `made` and `reference` are the same in all draws: the value needs no average
    what:   in words
    """

    made: Set
    pool: Set
    triples: list[tuple[Rows, Rows, Rows]]
    whole: bool
    what: str

    @property
    def sizes(self) -> tuple[int, int]:
        """How many samples and how many real examples are compared at a time."""
        made, _, reference = self.triples[0]
        return len(made), len(reference)

    def values(self, metric: Metric) -> list[float]:
        """The metric of samples to real examples, a value a draw; one where the draws do not differ."""
        some = self.triples[:1] if self.whole else self.triples
        return [float(metric(self.made.rows[m], self.pool.rows[r])) for m, _, r in some]

    def floors(self, metric: Metric) -> list[float]:
        """The metric of real examples to real examples, a value a draw."""
        return [float(metric(self.pool.rows[o], self.pool.rows[r])) for _, o, r in self.triples]

    def interval(self, metric: Metric, value: float, repeats: int) -> tuple[float, float]:
        """A 95 % interval around `value`: halves of both sets, which vary as the whole sets would."""
        if not self.whole:
            found = np.array(self.values(metric))
            low, high = np.quantile(found, [0.025, 0.975]) - found.mean()
            return value + float(low), value + float(high)
        m, _, r = self.triples[0]
        groups = (self.made.labels[m], self.pool.labels[r])
        rng = np.random.default_rng(0)
        return bootstrap(metric, self.made.rows[m], self.pool.rows[r], repeats, rng, groups=groups)


def draws(made: Set, train: Set, held: Set | None, learned: bool, repeats: int) -> Draws:
    """See the module. Raises BadInput for fewer than 8 samples or real examples."""
    rng = np.random.default_rng(0)
    known = train if held is None else train.joined(held)
    if min(len(made), len(known)) < 8:
        raise BadInput(
            f"{len(made)} samples and {len(known)} real examples: distances need 8 of each; more, to mean anything"
        )
    enough = held is not None and len(held) >= ENOUGH
    if held is not None and enough and not learned:
        n = min(len(made), len(train))
        chosen = np.arange(len(made)) if n == len(made) else np.sort(rng.permutation(len(made))[:n])
        reference = len(train) + np.arange(len(held))
        triples = [(chosen, _like(made.labels[chosen], train.labels, rng), reference) for _ in range(FLOORS)]
        what = f"{n} samples against {len(held)} held-out examples; beside, {FLOORS} draws of {n} training examples"
        return Draws(made, known, triples, True, what)
    pool = held if held is not None and enough else known
    half = len(pool) // 2
    n = min(half, len(made) // 2 if len(made) >= 16 else len(made))
    triples = []
    for _ in range(repeats):
        rows = _halved(pool.labels, rng)
        other = rows[half:][: n if n < len(rows) - half else None]
        triples.append((rng.permutation(len(made))[:n], other, rows[:half]))
    which = "held-out examples" if enough else "all real examples, training ones too, since few are held out"
    what = f"{n} samples against half of {len(pool)} {which}; beside, {n} of the other half; {repeats} draws"
    return Draws(made, pool, triples, False, what)


def _like(wanted: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Rows:
    """Random places of `labels` with the classes of `wanted`, as far as there are enough of each."""
    order = rng.permutation(len(labels))
    if wanted.min() < 0 or labels.min() < 0:
        return order[: len(wanted)]
    parts = [order[labels[order] == c][: int((wanted == c).sum())] for c in np.unique(wanted)]
    return np.concatenate(parts)


def _halved(labels: np.ndarray, rng: np.random.Generator) -> Rows:
    """Places in an order whose halves hold about as many of each class, and of each class at random."""
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    first, second = by_class[0::2], by_class[1::2]
    return np.concatenate([rng.permutation(second), rng.permutation(first)])


def measured(found: Draws, repeats: int, real: str, many: str) -> list[Figure]:
    """MMD, Frechet distance, precision, recall and coverage with what stands beside them.

    real: what stands beside, in words; many: what the examples are called
    """
    _, m = found.sizes
    reference = found.pool.rows[found.triples[0][2]]
    mmd = MMD(median_distance(found.pool.rows if not found.whole else reference))
    out = [
        _distance("mmd", "MMD x 1000", lambda g, r: 1000 * mmd(g, r), found, repeats, real, many),
        _distance("frechet", f"Frechet distance, N = {found.sizes[0]}", Frechet(), found, repeats, real, many),
    ]
    if min(found.sizes) <= 10:
        return out
    k = 5 if m > 20 else 3
    shares = PrecisionRecall(k=k)
    values = np.array([shares.shares(found.made.rows[a], found.pool.rows[r]) for a, _, r in _some(found)])
    floors = np.array([shares.shares(found.pool.rows[o], found.pool.rows[r]) for _, o, r in found.triples[:20]])
    told = (
        ("precision", f"share of samples that lie among real {many}: quality"),
        ("recall", f"share of real {many} that lie among samples: variety"),
        ("coverage", f"share of real {many} that have a sample near them: variety, outliers aside"),
    )
    for i, (key, means) in enumerate(told):
        beside = Beside(real, float(floors[:, i].mean()), float(floors[:, i].min()), float(floors[:, i].max()))
        out.append(Figure(key, key, float(values[:, i].mean()), "{:.1%}", None, (beside,), means))
    return out


def _some(found: Draws) -> list[tuple[Rows, Rows, Rows]]:
    return found.triples[:1] if found.whole else found.triples[:20]


def _distance(key: str, name: str, metric: Metric, found: Draws, repeats: int, real: str, many: str) -> Figure:
    value = float(np.mean(found.values(metric)))
    floors = np.array(found.floors(metric))
    low, high = (float(q) for q in np.quantile(floors, [0.025, 0.975]))
    beside = Beside(real, float(floors.mean()), low, high)
    return Figure(
        key, name, value, "{:.3g}", found.interval(metric, value, repeats), (beside,), verdict(key, value, beside, many)
    )


def verdict(key: str, value: float, beside: Beside, many: str) -> str:
    """What a distance says, in a line."""
    assert beside.low is not None and beside.high is not None
    if value < beside.low:
        return f"closer to the real {many} than these are to each other: look for copies"
    if value <= beside.high:
        return f"no difference from real {many} can be seen at this number"
    if key == "mmd":
        return f"{value / max(beside.high, 1e-9):.1f} times what 97.5 % of draws of real {many} stay below; unbiased"
    return (
        f"{value / max(beside.value, 1e-12):.1f} times the real {many}' own; falls with N, so compare at this N alone"
    )
