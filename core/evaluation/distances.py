"""Metrics of samples against real data, each with the value of real data against real data as its baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .comparison import (
    BASELINE_DRAWS,
    MAX_SINGLE,
    ComparisonDraws,
    FeatureSet,
    SetDistance,
    drop_partial_labels,
    random_halves,
)
from .metrics.base import Features, Metric, MetricColumn
from .metrics.frechet import Frechet
from .metrics.mmd import MMD
from .metrics.precision_recall import PrecisionRecall
from .report.contents import Measurement, ReferenceValue

SHARE_DRAWS = 20  # draws whose mean is reported for a share, which has no interval


def default_metrics() -> list[Metric]:
    """The metrics used where a recipe names none."""
    return [MMD(), Frechet(), PrecisionRecall()]


def measure_distances(
    rows: ComparisonDraws,
    metrics: Sequence[Metric],
    repeats: int,
    real: str,
    many: str,
    codec: Callable[[SetDistance], ReferenceValue] | None = None,
) -> list[Measurement]:
    """One measurement for each result of the metrics, with its reference values.

    Args:
        rows: Which rows are compared.
        metrics: Metrics to compute; those that need more rows are left out, and see `unmeasured_distances`.
        repeats: Number of random halves from which an interval is computed.
        real: Name of the reference, such as "real sounds".
        many: Plural noun for examples, such as "sounds".
        codec: Distance function -> reference value of real examples after the codec round trip; None: not computed.
    """
    reference = rows.real.rows if rows.value is None else rows.real.rows[rows.value.reference]
    out, left_out = [], unmeasured_distances(rows, metrics)
    for metric in metrics:
        if min(rows.sizes) < metric.min_rows:
            continue
        fixed = metric.fixed(reference)
        shares = [result for result in metric.results if result.kind == "share"]
        if shares:
            out += _shares(fixed, shares, rows, real, many)
        out += [
            _distance(fixed, result, rows, repeats, real, many, codec)
            for result in metric.results
            if result.kind == "distance" and result.name not in left_out
        ]
    return out


def unmeasured_distances(rows: ComparisonDraws, metrics: Sequence[Metric]) -> list[str]:
    """Names of the distances that would be biased, since too many rows are the only ones of their class."""
    if not rows.sparse_sets:
        return []
    return [result.name for metric in metrics for result in metric.results if result.unbiased]


def _shares(
    metric: Metric, results: list[MetricColumn], rows: ComparisonDraws, real: str, many: str
) -> list[Measurement]:
    """All shares of a metric, from one evaluation of it."""
    sets = rows.generated.rows, rows.real.rows
    values = [metric(sets[0][d.generated], sets[1][d.reference]) for d in rows.value_draws[:SHARE_DRAWS]]
    baseline = [metric(sets[1][d.other], sets[1][d.reference]) for d in rows.baseline]
    out = []
    for result in results:
        found, known = (np.array([value[result.key] for value in some]) for some in (values, baseline))
        name, meaning = result.name.format(n=rows.sizes[0]), result.meaning.format(many=many)
        reference = _mean_and_range(real, result.scale * known)
        value = result.scale * float(found.mean())
        out.append(Measurement(result.key, name, value, result.format, None, (reference,), meaning))
    return out


def _distance(
    metric: Metric,
    result: MetricColumn,
    rows: ComparisonDraws,
    repeats: int,
    real: str,
    many: str,
    codec: Callable[[SetDistance], ReferenceValue] | None,
) -> Measurement:
    def between_sets(a: FeatureSet, b: FeatureSet) -> float:
        return result.scale * metric(a.rows, b.rows, (a.labels, b.labels))[result.key]

    def statistic(generated: Features, known: Features) -> float:
        return result.scale * metric(generated, known)[result.key]

    value = float(np.mean(rows.values(between_sets)))
    baseline = _mean_and_range(real, np.array(rows.baseline_values(between_sets)))
    references = (baseline, codec(between_sets)) if codec is not None and result.unbiased else (baseline,)
    interval = rows.interval(between_sets, statistic, value, repeats)
    meaning = result.meaning.format(many=many) or explain_distance(result, value, baseline, many)
    return Measurement(
        result.key, result.name.format(n=rows.sizes[0]), value, result.format, interval, references, meaning
    )


def _mean_and_range(name: str, values: np.ndarray) -> ReferenceValue:
    """The mean of the draws and the range that contains 95 % of them."""
    low, high = (float(q) for q in np.quantile(values, [0.025, 0.975]))
    return ReferenceValue(name, float(values.mean()), low, high)


def explain_distance(result: MetricColumn, value: float, baseline: ReferenceValue, many: str) -> str:
    """The meaning of a distance in one line."""
    assert baseline.low is not None and baseline.high is not None
    if value < baseline.low:
        return f"closer to the real {many} than these are to each other: look for copies"
    if value <= baseline.high:
        return f"no difference from real {many} can be seen with this number of samples"
    if result.unbiased:
        times = (value - baseline.value) / max(baseline.high - baseline.value, 1e-9)
        return (
            f"above chance by {times:.3g} times the variation of real {many}; the expected value does not depend on N"
        )
    times = value / max(baseline.value, 1e-12)
    return f"{times:.1f} times the real {many}' own value; it decreases with N, so compare at this N only"


def codec_reference_function(
    decoded: FeatureSet, original: FeatureSet, name: str, repeats: int = BASELINE_DRAWS
) -> Callable[[SetDistance], ReferenceValue] | None:
    """For a distance function, the reference value of real examples after the codec round trip.

    Halves of `decoded` are compared with the other halves of `original`, which holds the same examples in the same
    order: an example compared with itself would be too close. None where too many examples of a half are the only ones
    of their class, see `MAX_SINGLE`.
    """
    decoded, original = drop_partial_labels(decoded, original)
    rng = np.random.default_rng(0)
    halves = [random_halves(original.labels, len(original) // 2, rng) for _ in range(repeats)]
    if np.mean([original.select(one).single_share for one, _ in halves]) > MAX_SINGLE:
        return None

    def reference(distance: SetDistance) -> ReferenceValue:
        values = [distance(decoded.select(other), original.select(one)) for one, other in halves]
        return _mean_and_range(name, np.array(values))

    return reference
