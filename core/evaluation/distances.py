"""Distances between samples and real data, each beside what real data reaches against real data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .adapter import Beside, Figure
from .draws import FLOORS, Draws, Measure, Set, all_told, halves
from .draws import draws as draws
from .metrics.base import Features, Metric
from .metrics.frechet import Frechet
from .metrics.mmd import MMD, median_distance
from .metrics.precision_recall import PrecisionRecall


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
    coded, known = all_told(coded, known)

    def beside(measure: Measure) -> Beside:
        rng, values = np.random.default_rng(0), []
        for _ in range(repeats):
            one, other = halves(known.labels, len(known) // 2, rng)
            values.append(measure(coded.pick(other), known.pick(one)))
        return _range(name, np.array(values))

    return beside
