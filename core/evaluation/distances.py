"""Metrics of samples against real data, each with what real data reaches against real data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .comparison import BASELINE_DRAWS, Comparison, FeatureSet, SetDistance, halves, same_labelling
from .metrics.base import Features, Metric, MetricResult
from .metrics.frechet import Frechet
from .metrics.mmd import MMD
from .metrics.precision_recall import PrecisionRecall
from .report.contents import Measurement, ReferenceValue

SHARE_DRAWS = 20  # draws that give the mean of a share, which has no interval


def default_metrics() -> list[Metric]:
    """The metrics of a recipe that names none."""
    return [MMD(), Frechet(), PrecisionRecall()]


def measure(
    rows: Comparison,
    metrics: Sequence[Metric],
    repeats: int,
    real: str,
    many: str,
    codec: Callable[[SetDistance], ReferenceValue] | None = None,
) -> list[Measurement]:
    """A line for each result of the metrics, with its reference values.

    Args:
        rows: which rows are compared
        metrics: those for which there are too few rows are left out
        repeats: halves behind an interval
        real: name of the reference, such as "real sounds"
        many: what examples are called, such as "sounds"
        codec: what real examples reach that went through the codec, where that is known
    """
    reference = rows.real.rows if rows.value is None else rows.real.rows[rows.value.reference]
    out = []
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
            if result.kind == "distance"
        ]
    return out


def _shares(metric: Metric, results: list[MetricResult], rows: Comparison, real: str, many: str) -> list[Measurement]:
    """All shares of a metric, at the cost of one."""
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
    result: MetricResult,
    rows: Comparison,
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
    meaning = result.meaning.format(many=many) or verdict(result, value, baseline, many)
    return Measurement(
        result.key, result.name.format(n=rows.sizes[0]), value, result.format, interval, references, meaning
    )


def _mean_and_range(name: str, values: np.ndarray) -> ReferenceValue:
    """The mean of the draws, and the range that 95 % of them lie in."""
    low, high = (float(q) for q in np.quantile(values, [0.025, 0.975]))
    return ReferenceValue(name, float(values.mean()), low, high)


def verdict(result: MetricResult, value: float, baseline: ReferenceValue, many: str) -> str:
    """What a distance says, in a line."""
    assert baseline.low is not None and baseline.high is not None
    if value < baseline.low:
        return f"closer to the real {many} than these are to each other: look for copies"
    if value <= baseline.high:
        return f"no difference from real {many} can be seen with this number of samples"
    if result.unbiased:
        times = (value - baseline.value) / max(baseline.high - baseline.value, 1e-9)
        return f"above chance by {times:.3g} times what real {many} vary by; the expected value does not depend on N"
    times = value / max(baseline.value, 1e-12)
    return f"{times:.1f} times the real {many}' own; falls with N, so compare at this N only"


def through_codec(
    decoded: FeatureSet, original: FeatureSet, name: str, repeats: int = BASELINE_DRAWS
) -> Callable[[SetDistance], ReferenceValue]:
    """For a distance, what real examples reach after the codec.

    Halves of `decoded` are compared with the other halves of `original`, which holds the same examples in the same
    order: compared with itself an example would be too near.
    """
    decoded, original = same_labelling(decoded, original)

    def reference(distance: SetDistance) -> ReferenceValue:
        rng, values = np.random.default_rng(0), []
        for _ in range(repeats):
            one, other = halves(original.labels, len(original) // 2, rng)
            values.append(distance(decoded.select(other), original.select(one)))
        return _mean_and_range(name, np.array(values))

    return reference
