"""Which rows of features are compared: samples, real examples, and other real examples as the baseline.

A draw holds three sets of rows: samples, a reference of real examples, and other real examples that are not in the
reference, as many as samples and of the same classes. The metric of samples to reference is the value, that of the
others to the reference is the baseline, so number and classes affect both in the same way.

- Enough held-out examples, features that were not learned on the training data: the value compares all samples with all
  held-out examples; for the baseline, reference and others are drawn again from all real examples, as in a permutation
  test, so that its spread includes the variation of both sets.
- Enough held-out examples, features learned on the training data (training examples cannot be a reference then): halves
  of the samples and of the held-out examples in each draw.
- Too few held-out examples: the same with halves of all real examples.

Source: Gretton et al. 2012, "A kernel two-sample test", section 5 (the null distribution by permutation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..types import BadInput
from .examples import ENOUGH
from .intervals import Statistic, bootstrap_interval

MAX_ROWS = 2000
"""Maximum rows of a set in a draw: the cost grows with the square; the baseline shows the effect of the number."""
MIN_ROWS = 8  # minimum number of examples in a set
MAX_SINGLE = 0.1
"""Maximum share of rows that are the only ones of their class, for metrics that compare pairs of one class."""
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
        """The examples at these indices."""
        return FeatureSet(self.rows[rows], self.labels[rows])

    @property
    def single_share(self) -> float:
        """Share of the examples that are the only ones of their class."""
        _, counts = np.unique(self.labels[self.labels >= 0], return_counts=True)
        return int((counts == 1).sum()) / max(1, len(self))

    @property
    def labelled(self) -> bool:
        """Whether every example has a class."""
        return not (self.labels < 0).any()

    def without_labels(self) -> FeatureSet:
        """The same without classes."""
        return FeatureSet(self.rows, np.full_like(self.labels, -1))

    def concatenated(self, other: FeatureSet) -> FeatureSet:
        """Both sets, concatenated."""
        return FeatureSet(np.concatenate([self.rows, other.rows]), np.concatenate([self.labels, other.labels]))


class ComparisonRows(NamedTuple):
    """Rows that are compared with each other.

    Attributes:
        generated: Rows of the samples.
        other: Rows of real examples that replace the samples in the baseline: the same number, of the same classes.
        reference: Rows of the real examples that both are compared with.
    """

    generated: np.ndarray
    other: np.ndarray
    reference: np.ndarray


@dataclass(frozen=True)
class ComparisonDraws:
    """Two sets of features, and the draws of rows that are compared: samples with real, and real with real.

    Attributes:
        generated: Features of the samples.
        real: Features of all real examples that may be drawn.
        value: Rows whose metric is the value; None: each draw of `baseline` gives a value, and the value is their mean.
        baseline: Draws of real examples against real examples.
        description: A text that describes the comparison.
    """

    generated: FeatureSet
    real: FeatureSet
    value: ComparisonRows | None
    baseline: list[ComparisonRows]
    description: str

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of samples and of real examples that are compared at a time."""
        first = self.value_draws[0]
        return len(first.generated), len(first.reference)

    @property
    def value_draws(self) -> list[ComparisonRows]:
        """The draws that give values."""
        return self.baseline if self.value is None else [self.value]

    @cached_property
    def sparse_sets(self) -> tuple[str, ...]:
        """The sets, "samples" and "real", in which on average over the draws many examples are alone in their class.

        The distances within a class are then unknown, and a metric cannot correct for fixed numbers of each class.
        """
        real, draws = self.real, [*self.baseline, *self.value_draws]
        shares = [
            [self.generated.select(d.generated).single_share, *(real.select(r).single_share for r in d[1:])]
            for d in draws
        ]
        samples, *others = np.mean(shares, axis=0) > MAX_SINGLE
        return ("samples",) * bool(samples) + ("real",) * any(others)

    def values(self, measure: SetDistance) -> list[float]:
        """Distances of samples to real examples, one per draw; a single one where the rows are fixed."""
        return [measure(self.generated.select(d.generated), self.real.select(d.reference)) for d in self.value_draws]

    def baseline_values(self, measure: SetDistance) -> list[float]:
        """Distances of real examples to real examples, one per draw."""
        return [measure(self.real.select(d.other), self.real.select(d.reference)) for d in self.baseline]

    def interval(self, measure: SetDistance, statistic: Statistic, value: float, repeats: int) -> tuple[float, float]:
        """A 95 % interval around `value`, from random halves of both sets (see `bootstrap_interval`)."""
        if self.value is None:
            found = np.array(self.values(measure))
            low, high = np.quantile(found, [0.025, 0.975]) - found.mean()
            return value + float(low), value + float(high)
        m, _, r = self.value
        groups = (self.generated.labels[m], self.real.labels[r])
        rng = np.random.default_rng(0)
        return bootstrap_interval(statistic, self.generated.rows[m], self.real.rows[r], repeats, rng, groups=groups)


def choose_comparison_draws(
    generated: FeatureSet, train: FeatureSet, held_out: FeatureSet | None, learned: bool, repeats: int
) -> ComparisonDraws:
    """Choose the rows as described at the top of this module; no set of a draw has more than `MAX_ROWS` rows.

    Classes are matched where every example of every set has one, and where for at least 8 samples of a draw there are
    other real examples of their classes as a baseline; otherwise classes are ignored, and `description` says so.

    Args:
        generated: Features of the samples.
        train: Features of the training examples.
        held_out: Features of held-out examples; None: there are none.
        learned: Whether the features were learned on the training examples.
        repeats: Number of draws where the rows of the value are drawn too.

    Raises:
        BadInput: For fewer than 8 samples or real examples.
    """
    count = len(train) + (0 if held_out is None else len(held_out))
    if min(len(generated), count) < MIN_ROWS:
        raise BadInput(
            f"{len(generated)} samples and {count} real examples: distances need {MIN_ROWS} of each; "
            "hundreds for precise values"
        )
    given = [generated, train] if held_out is None else [generated, train, held_out]
    sets, note = drop_partial_labels(*given), ""
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


def _drawn_rows(sets: list[FeatureSet], learned: bool, repeats: int) -> tuple[ComparisonDraws, bool]:
    """The draws, and whether matching the classes leaves too few samples in one draw."""
    rng = np.random.default_rng(0)
    generated, train, held_out = sets[0], sets[1], sets[2] if len(sets) > 2 else None
    all_real = train if held_out is None else train.concatenated(held_out)
    enough = held_out is not None and len(held_out) >= ENOUGH
    if held_out is not None and enough and not learned and len(train) >= MIN_ROWS:
        reference = _random_subset(len(train) + np.arange(len(held_out)), MAX_ROWS, rng)
        wanted = all_real.labels[reference]
        baseline, m = [], rng.permutation(len(generated))[:MAX_ROWS]
        requested = min(len(m), len(all_real) - len(reference))
        for _ in range(BASELINE_DRAWS):
            drawn = _with_classes(wanted, all_real.labels, np.arange(len(all_real)), rng)
            m, other = _matched(generated.labels, m, all_real.labels, _without(len(all_real), drawn), rng)
            baseline.append(ComparisonRows(m, other, drawn))
        value = ComparisonRows(m, baseline[-1].other, reference)
        samples = _count_text(len(m), requested, generated.labelled)
        description = (
            f"{samples} against {len(reference)} held-out examples; "
            f"baseline: {BASELINE_DRAWS} draws of as many real ones"
        )
        return ComparisonDraws(generated, all_real, value, baseline, description), len(m) < min(MIN_ROWS, requested)
    real = held_out if held_out is not None and enough else all_real
    half = min(MAX_ROWS, len(real) // 2)
    n = min(half, len(generated) // 2 if len(generated) >= 2 * MIN_ROWS else len(generated))
    baseline = []
    for _ in range(repeats):
        reference, rest = random_halves(real.labels, half, rng)
        chosen = _half_of(generated.labels, n, rng)
        baseline.append(ComparisonRows(*_matched(generated.labels, chosen, real.labels, rest, rng), reference))
    which = "held-out examples" if enough else "all real examples, training ones too, since few are held out"
    each = [len(d.generated) for d in baseline]
    mean = round(float(np.mean(each)))
    samples = _count_text(mean, n, generated.labelled)
    description = f"{samples} against {half} of {len(real)} {which}; baseline: {mean} of the others; {repeats} draws"
    return ComparisonDraws(generated, real, None, baseline, description), min(each) < min(MIN_ROWS, n)


def drop_partial_labels(*sets: FeatureSet) -> list[FeatureSet]:
    """The sets, all without labels if one has an unlabelled example.

    Otherwise the correction for classes would apply to some of the sets only.
    """
    return list(sets) if all(one.labelled for one in sets) else [one.without_labels() for one in sets]


def _count_text(n: int, requested: int, labelled: bool) -> str:
    """Number of samples that are compared, and the total where matching the classes removes some."""
    if not labelled or n >= requested:
        return f"{n} samples"
    return f"{n} of {requested} samples (the others' classes have too few real examples)"


def _random_subset(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    return rows if len(rows) <= most else np.sort(rng.permutation(rows)[:most])


def _without(count: int, rows: Rows) -> Rows:
    left = np.ones(count, bool)
    left[rows] = False
    return np.flatnonzero(left)


def _with_classes(wanted: np.ndarray, labels: np.ndarray, rows: Rows, rng: np.random.Generator) -> Rows:
    """Random rows out of `rows` with the classes of `wanted`, fewer where a class has too few."""
    order = rng.permutation(rows)
    if (wanted < 0).any() or (labels < 0).any():
        return order[: len(wanted)]
    parts = [order[labels[order] == c][: int((wanted == c).sum())] for c in np.unique(wanted)]
    return np.concatenate([order[:0], *parts])


def _matched(
    sample_labels: np.ndarray, chosen: Rows, labels: np.ndarray, rows: Rows, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Samples out of `chosen` and equally many real examples out of `rows`, of the same classes where all have one.

    Where a class has fewer remaining real examples than samples, the excess samples are left out.
    """
    if (sample_labels < 0).any() or (labels < 0).any():
        n = min(len(chosen), len(rows))
        return chosen[:n], rng.permutation(rows)[:n]
    other = _with_classes(sample_labels[chosen], labels, rows, rng)
    return _with_classes(labels[other], sample_labels, chosen, rng), other


def random_halves(labels: np.ndarray, half: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """A random half, with about half of each class, reduced to `half` rows; and all other rows."""
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    first, second = rng.permutation(by_class[0::2]), rng.permutation(by_class[1::2])
    return second[:half], first


def _half_of(labels: np.ndarray, n: int, rng: np.random.Generator) -> Rows:
    """n random rows, about as many of each class as a half has."""
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    return by_class[np.linspace(0, len(by_class), n, endpoint=False).astype(int)]
