"""Distributions of single numbers, such as loudness or brightness, over samples and over real examples.

A modality names the numbers (`EvaluationAdapter.measures`). Each is compared by its quartiles and by the Wasserstein-1
distance, which is the mean distance by which a sorted list of samples must be moved to become the list of real
examples, in units of the real spread:

    W1 = integral_0^1 |G^-1(u) - R^-1(u)| du / ((Q_R(0.84) - Q_R(0.16)) / 2)

The divisor is the standard deviation where real values are normal. The rows that are compared, and the baseline of real
examples against real ones, are those of the other distances (`comparison.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wasserstein_distance

from .comparison import BASELINE_DRAWS, MIN_ROWS, FeatureSet, choose_comparison_draws
from .measures import ExampleMeasure
from .report.contents import DistributionRow, DistributionTable, Measurement, Quartiles, ReferenceValue
from .report.table import format_quartiles

ENOUGH_OF_CLASS = 20
"""Real examples of a class from which its range is derived; with fewer, the range is that of all real examples."""
_OUTER = (0.01, 0.99)


@dataclass(frozen=True)
class MeasureComparison:
    """One measure of samples and of real examples.

    Attributes:
        table: A row for all examples, then one for each class.
        values: (N,) values of the samples.
        ranges: (N, 2) range that holds 98 % of the real examples, of each sample's class where it has enough.
        outside: (N,) distance of each sample beyond that range, in units of its width; 0: inside, or no value.
    """

    table: DistributionTable
    values: np.ndarray
    ranges: np.ndarray
    outside: np.ndarray


def compare_distributions(
    measures: Sequence[Sequence[ExampleMeasure]], labels: Sequence[np.ndarray], classes: Sequence[str]
) -> list[MeasureComparison]:
    """Compare every measure.

    Args:
        measures: The same measures of samples, of training examples and, where there are enough, of held-out ones.
        labels: Class indices (N,) of each of these sets; -1: no class.
        classes: Names of the classes.
    """
    out = []
    for same in zip(*measures, strict=True):
        measure, sets = same[0], [_values(one, own) for one, own in zip(same, labels, strict=True)]
        rows = [_row("", sets)]
        for label, name in enumerate(classes):
            own = [one.select(np.flatnonzero(one.labels == label)) for one in sets]
            if len(classes) > 1 and min(len(own[0]), sum(map(len, own[1:]))) >= MIN_ROWS:
                rows.append(_row(name, own))
        real = sets[1] if len(sets) == 2 else sets[1].concatenated(sets[2])
        ranges = _ranges(sets[0].labels, real)
        table, values = DistributionTable(measure.key, measure.name, measure.format, rows), sets[0].rows[:, 0]
        out.append(MeasureComparison(table, values, ranges, _outside(values, ranges)))
    return out


def distribution_measurements(found: Sequence[MeasureComparison], many: str) -> list[Measurement]:
    """A line for each measure: the distance over all examples, with medians and quartiles as its meaning."""
    return [_measurement(one.table, f"real {many}") for one in found]


def _measurement(table: DistributionTable, real: str) -> Measurement:
    row = table.rows[0]
    samples, known = (format_quartiles(one, table.format) for one in (row.samples, row.real))
    references = (ReferenceValue(real, *row.baseline),) if np.isfinite(row.distance) else ()
    noun = table.name.split(", ")[0]  # without its unit: the distance is in units of the real spread
    meaning = f"{table.name}: samples {samples}; {real} {known}"
    return Measurement(table.key, f"distance of {noun}", row.distance, "{:.2f}", None, references, meaning)


def _values(measure: ExampleMeasure, labels: np.ndarray) -> FeatureSet:
    return FeatureSet(measure.values.double().numpy().reshape(-1, 1), labels)


def _row(name: str, sets: list[FeatureSet]) -> DistributionRow:
    """The row of the samples sets[0], the training examples sets[1] and the held-out ones sets[2], if given."""
    shown = sets[-1] if len(sets[-1]) else sets[1]
    known = [one.select(np.flatnonzero(np.isfinite(one.rows[:, 0]))) for one in sets]
    if name:
        known = [one.without_labels() for one in known]
    distance, baseline = math.nan, (math.nan, math.nan, math.nan)
    if min(len(known[0]), sum(map(len, known[1:]))) >= MIN_ROWS:
        distance, baseline = _distance(known)
    return DistributionRow(name, _quartiles(sets[0]), _quartiles(shown), distance, baseline)


def _distance(known: list[FeatureSet]) -> tuple[float, tuple[float, float, float]]:
    held_out = known[2] if len(known) > 2 else None
    draws = choose_comparison_draws(known[0], known[1], held_out, False, BASELINE_DRAWS)
    spread = _spread(draws.real.rows[:, 0])

    def between(a: FeatureSet, b: FeatureSet) -> float:
        return float(wasserstein_distance(a.rows[:, 0], b.rows[:, 0])) / spread

    found = np.array(draws.baseline_values(between))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(np.mean(draws.values(between))), (float(found.mean()), float(low), float(high))


def _spread(values: np.ndarray) -> float:
    """Half the width of the middle 68 %; the standard deviation where that is 0; 1 where all values are equal."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float((high - low) / 2) or float(values.std()) or 1.0


def _quartiles(one: FeatureSet) -> Quartiles:
    values = one.rows[np.isfinite(one.rows[:, 0]), 0]
    quantiles = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]) if len(values) else np.full(5, np.nan)
    a, b, c, d, e = (float(q) for q in quantiles)
    return Quartiles(len(one), len(values) / max(1, len(one)), (a, b, c, d, e))


def _ranges(labels: np.ndarray, real: FeatureSet) -> np.ndarray:
    """(N, 2) the range of the real examples, of the class of each sample where it has enough."""
    known = real.select(np.flatnonzero(np.isfinite(real.rows[:, 0])))
    everything = np.quantile(known.rows[:, 0], _OUTER) if len(known) else np.array([-np.inf, np.inf])
    ranges = np.tile(everything, (len(labels), 1))
    for label in np.unique(labels[labels >= 0]):
        own = known.rows[known.labels == label, 0]
        if len(own) >= ENOUGH_OF_CLASS:
            ranges[labels == label] = np.quantile(own, _OUTER)
    return ranges


def _outside(values: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    low, high = ranges.T
    width = high - low
    beyond = np.maximum(np.maximum(low - values, values - high), 0)
    return np.nan_to_num(beyond / np.where(np.isfinite(width) & (width > 0), width, 1.0))
