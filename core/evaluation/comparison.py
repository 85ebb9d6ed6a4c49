"""Which rows of features are compared: samples, real examples, and other real examples as the baseline.

A draw names three sets of rows: samples, a reference of real examples, and other real examples that are not in the
reference, as many as samples and of the same classes. The metric of samples to reference is the value, that of the
others to the reference is the baseline, so number and classes affect both in the same way.

- Enough held-out examples, features that know nothing of the training data: the value is that of all samples to all
  held-out examples; for the baseline, reference and others are drawn anew from all real examples, as in a permutation
  test, so that its spread holds what either set varies by.
- Enough held-out examples, features learned on the training data (for which training examples are no measure): halves
  of the samples and of the held-out examples in each draw.
- Too few held-out examples: the same with halves of all real examples.

Source: Gretton et al. 2012, "A kernel two-sample test", section 5 (the null distribution by permutation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..types import BadInput
from .examples import ENOUGH
from .intervals import Statistic, bootstrap

MAX_ROWS = 2000
"""Rows of a set in a draw, at most: the cost grows with the square, and the baseline shows what the number does."""
MIN_ROWS = 8  # examples of a set; with fewer nothing can be measured
BASELINE_DRAWS = 40  # draws of real examples against real ones

Rows = np.ndarray
SetDistance = Callable[["FeatureSet", "FeatureSet"], float]


@dataclass(frozen=True)
class FeatureSet:
    """Features `rows` (N, d) and class indices `labels` (N,) of one set of examples; -1: no class."""

    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, rows: np.ndarray) -> FeatureSet:
        """The examples at these places."""
        return FeatureSet(self.rows[rows], self.labels[rows])

    @property
    def labelled(self) -> bool:
        """Every example has a class."""
        return not (self.labels < 0).any()

    def without_labels(self) -> FeatureSet:
        """The same without classes."""
        return FeatureSet(self.rows, np.full_like(self.labels, -1))

    def joined(self, other: FeatureSet) -> FeatureSet:
        """Both, one after the other."""
        return FeatureSet(np.concatenate([self.rows, other.rows]), np.concatenate([self.labels, other.labels]))


class Draw(NamedTuple):
    """Rows that are compared with each other.

    Attributes:
        generated: of the samples
        other: of real examples that take the samples' place in the baseline: as many, of the same classes
        reference: of the real examples that both are compared with
    """

    generated: np.ndarray
    other: np.ndarray
    reference: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Which rows are compared.

    Attributes:
        generated: features of the samples
        real: features of all real examples that may be drawn
        value: rows whose metric is the value; None: each draw of `baseline` gives a value, and their mean counts
        baseline: draws of real examples against real examples
        description: the comparison in words
    """

    generated: FeatureSet
    real: FeatureSet
    value: Draw | None
    baseline: list[Draw]
    description: str

    @property
    def sizes(self) -> tuple[int, int]:
        """How many samples and how many real examples are compared at a time."""
        first = self.value_draws[0]
        return len(first.generated), len(first.reference)

    @property
    def value_draws(self) -> list[Draw]:
        """The draws that give values."""
        return self.baseline if self.value is None else [self.value]

    def values(self, measure: SetDistance) -> list[float]:
        """The distance of samples to real examples, a value a draw; one where the draws do not differ."""
        return [measure(self.generated.select(d.generated), self.real.select(d.reference)) for d in self.value_draws]

    def baseline_values(self, measure: SetDistance) -> list[float]:
        """The distance of real examples to real examples, a value a draw."""
        return [measure(self.real.select(d.other), self.real.select(d.reference)) for d in self.baseline]

    def interval(self, measure: SetDistance, statistic: Statistic, value: float, repeats: int) -> tuple[float, float]:
        """A 95 % interval around `value`: halves of both sets, which vary as the whole sets would."""
        if self.value is None:
            found = np.array(self.values(measure))
            low, high = np.quantile(found, [0.025, 0.975]) - found.mean()
            return value + float(low), value + float(high)
        m, _, r = self.value
        groups = (self.generated.labels[m], self.real.labels[r])
        rng = np.random.default_rng(0)
        return bootstrap(statistic, self.generated.rows[m], self.real.rows[r], repeats, rng, groups=groups)


def compare_rows(
    generated: FeatureSet, train: FeatureSet, held_out: FeatureSet | None, learned: bool, repeats: int
) -> Comparison:
    """Choose the rows as the module says; no set of a draw has more than `MAX_ROWS` rows.

    Classes count where every example of every set has one, and where at least 8 samples in a draw have other real
    examples of their classes as a baseline; else no set has classes, and `description` says so.

    Args:
        generated: features of the samples
        train: features of the training examples
        held_out: features of held-out examples; None: there are none
        learned: the features were learned on the training examples
        repeats: draws where the rows of the value are drawn

    Raises:
        BadInput: for fewer than 8 samples or real examples.
    """
    count = len(train) + (0 if held_out is None else len(held_out))
    if min(len(generated), count) < MIN_ROWS:
        raise BadInput(
            f"{len(generated)} samples and {count} real examples: distances need {MIN_ROWS} of each; "
            "hundreds, to be precise"
        )
    given = [generated, train] if held_out is None else [generated, train, held_out]
    sets, note = same_labelling(*given), ""
    if sets[0].labelled:
        found, few = _drawn_rows(sets, learned, repeats)
        if not few:
            return found
        sets = [one.without_labels() for one in sets]
        note = "; classes are not matched, since too few other real examples have those of the samples"
    elif any((one.labels >= 0).any() for one in given):
        note = "; classes are not matched, since not every example has one"
    found, _ = _drawn_rows(sets, learned, repeats)
    return replace(found, description=found.description + note)


def _drawn_rows(sets: list[FeatureSet], learned: bool, repeats: int) -> tuple[Comparison, bool]:
    """The draws, and whether matching the classes leaves too few samples in one of them."""
    rng = np.random.default_rng(0)
    generated, train, held_out = sets[0], sets[1], sets[2] if len(sets) > 2 else None
    known = train if held_out is None else train.joined(held_out)
    enough = held_out is not None and len(held_out) >= ENOUGH
    if held_out is not None and enough and not learned and len(train) >= MIN_ROWS:
        reference = _thinned(len(train) + np.arange(len(held_out)), MAX_ROWS, rng)
        wanted = known.labels[reference]
        baseline, m = [], rng.permutation(len(generated))[:MAX_ROWS]
        asked = min(len(m), len(known) - len(reference))
        for _ in range(BASELINE_DRAWS):
            drawn = _like(wanted, known.labels, np.arange(len(known)), rng)
            m, other = _matched(generated.labels, m, known.labels, _without(len(known), drawn), rng)
            baseline.append(Draw(m, other, drawn))
        value = Draw(m, baseline[-1].other, reference)
        who = _left(len(m), asked, generated.labelled)
        description = (
            f"{who} against {len(reference)} held-out examples; baseline: {BASELINE_DRAWS} draws of as many real ones"
        )
        return Comparison(generated, known, value, baseline, description), len(m) < min(MIN_ROWS, asked)
    real = held_out if held_out is not None and enough else known
    half = min(MAX_ROWS, len(real) // 2)
    n = min(half, len(generated) // 2 if len(generated) >= 2 * MIN_ROWS else len(generated))
    baseline = []
    for _ in range(repeats):
        reference, rest = halves(real.labels, half, rng)
        chosen = _half_of(generated.labels, n, rng)
        baseline.append(Draw(*_matched(generated.labels, chosen, real.labels, rest, rng), reference))
    which = "held-out examples" if enough else "all real examples, training ones too, since few are held out"
    each = [len(d.generated) for d in baseline]
    mean = round(float(np.mean(each)))
    who = _left(mean, n, generated.labelled)
    description = f"{who} against {half} of {len(real)} {which}; baseline: {mean} of the others; {repeats} draws"
    return Comparison(generated, real, None, baseline, description), min(each) < min(MIN_ROWS, n)


def same_labelling(*sets: FeatureSet) -> list[FeatureSet]:
    """The sets as they are, or all without labels where one has an example without: else the correction for classes
    would apply to some sets only."""
    return list(sets) if all(one.labelled for one in sets) else [one.without_labels() for one in sets]


def _left(n: int, asked: int, labelled: bool) -> str:
    """How many samples are compared, and of how many where matching the classes leaves some out."""
    if not labelled or n >= asked:
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
    """Samples out of `chosen` and real examples out of `rows`: as many, and of the same classes where all have one.

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
