"""Which examples the page shows, and the record of each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..adapter import Defect, EvaluationAdapter, EvaluationReport, ExampleSet, Exhibit, Made, Real
from ..examples import spread
from ..memorization import Novelty
from ..recognition import Recognition

WORST = 8  # examples in each of the rows of the worst ones


def rows(
    made: Made, data: Real, seen: Recognition | None, found: Novelty | None, faults: list[Defect]
) -> list[dict[str, Any]]:
    """A record a sample: its file, class, what the classifier sees in it, the nearest training example, its defects."""
    out = []
    for i, (source, label) in enumerate(zip(made.side.sources, made.side.labels.tolist(), strict=True)):
        row: dict[str, Any] = {"file": source}
        if label >= 0:
            row["label"] = data.classes[label]
        if seen is not None:
            row["recognised"] = data.classes[int(seen.guessed[i])]
        if found is not None:
            row["likeness"] = round(float(found.samples.value[i]), 4)
            row["nearest"] = data.train.sources[int(found.samples.place[i])]
        row["defects"] = [d.key for d in faults if bool(d.flags[i])]
        out.append(row)
    return out


def add(
    report: EvaluationReport,
    judge: EvaluationAdapter,
    made: Made,
    data: Real,
    seen: Recognition | None,
    found: Novelty | None,
    faults: list[Defect],
    gaps: np.ndarray,
    shown: int,
) -> None:
    """Fill the report's exhibits: samples, real ones, the most alike, the farthest off, the mistaken, the faulty.

    gaps: (N,) distance of each sample to the nearest real example in the features
    """
    many, table = judge.nouns[1], report.rows
    if not shown:
        return

    def samples(indices: list[int], extra=lambda i: "", warn=lambda i: False) -> list[Exhibit]:
        return [Exhibit(judge.exhibit(made.raw[i]), _caption(table[i], extra(i)), warn(i)) for i in indices]

    def reals(side: ExampleSet) -> list[Exhibit]:
        names = [data.classes[k] if k >= 0 else "" for k in side.labels.tolist()]
        return [
            Exhibit(judge.exhibit(media), " · ".join(t for t in (name, source) if t))
            for media, name, source in zip(side.own(), names, side.sources, strict=True)
        ]

    def put(heading: str, about: str, examples: list[Exhibit]) -> None:
        if examples:
            report.exhibits[heading] = (about, examples)

    chosen = _spread(made.side, shown)
    put("Samples", f"{len(chosen)} of {len(made.side)}, not chosen by quality.", samples(chosen, warn=_wrong(table)))
    beside = data.held if data.held is not None and len(data.held) else data.train
    put(
        f"Real {many}", "For comparison" + (", held out." if beside is data.held else "."), reals(spread(beside, WORST))
    )
    if found is not None:
        put(
            "Most alike to training data",
            f"Each sample and the training example it is most like. Above {found.limit:.3f} it counts as a copy.",
            _pairs(judge, made, data, found, table),
        )
    far = torch.from_numpy(gaps).argsort(descending=True)[:WORST].tolist()
    put(
        "Farthest from the data",
        "Samples whose features are farthest from those of any real one: faults, or what the data lacks.",
        samples(far, lambda i: f"distance {gaps[i]:.1f}"),
    )
    if seen is not None:
        mistaken = torch.nonzero(seen.guessed != made.side.labels)[:, 0].tolist()
        put(
            "Mistaken",
            f"{len(mistaken)} samples that the classifier takes for another class.",
            samples(mistaken[:WORST]),
        )
    faulty = [i for i, row in enumerate(table) if row["defects"]]
    names = {d.key: d.name for d in faults}
    put(
        "With defects",
        f"{len(faulty)} of {len(table)} samples.",
        samples(faulty[:WORST], lambda i: ", ".join(names[k] for k in table[i]["defects"]), lambda i: True),
    )


def _caption(row: dict[str, Any], extra: str) -> str:
    told, seen = row.get("label"), row.get("recognised")
    name = str(told) if told is not None else ""
    if seen is not None and seen != told:
        name += f", taken for {seen}"
    return " · ".join(t for t in (name, extra, row["file"]) if t)


def _wrong(table: list[dict[str, Any]]):
    return lambda i: table[i].get("recognised", table[i].get("label")) != table[i].get("label")


def _pairs(
    judge: EvaluationAdapter, made: Made, data: Real, found: Novelty, table: list[dict[str, Any]]
) -> list[Exhibit]:
    out = []
    for i in _first(found.samples.value, WORST // 2):
        near, value = int(found.samples.place[i]), float(found.samples.value[i])
        out.append(
            Exhibit(judge.exhibit(made.raw[i]), _caption(table[i], f"likeness {value:.3f}"), value > found.limit)
        )
        out.append(
            Exhibit(judge.exhibit(data.train.pick([near]).own()[0]), f"its nearest · {data.train.sources[near]}")
        )
    return out


def _first(values: Tensor, count: int) -> list[int]:
    return values.argsort(descending=True, stable=True)[:count].tolist()


def _spread(side: ExampleSet, count: int) -> list[int]:
    """The first samples of each class in turn; the first ones where there are no classes."""
    turn, met = [], {}
    for label in side.labels.tolist():
        turn.append(met.get(label, 0))
        met[label] = turn[-1] + 1
    order = sorted(range(len(side)), key=lambda i: (turn[i], side.labels[i].item(), i))
    return order[:count] if int(side.labels.min()) >= 0 else list(range(min(count, len(side))))
