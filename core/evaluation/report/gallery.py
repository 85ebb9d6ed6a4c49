"""The examples that the page shows, and the record of each sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...util.messages import shorten
from ..adapter import DefectMeasure, EvaluationAdapter
from ..distributions import MeasureComparison
from ..examples import ExampleSet, GeneratedSet, RealData, balanced_subset
from ..memorization import MemorizationResult
from ..prompt_following import PromptResult
from ..recognition import RecognitionResult
from .contents import GalleryItem, GalleryRow
from .table import format_number

WORST = 8  # examples in each row of worst examples

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class PerSampleResults:
    """Results for each sample.

    Attributes:
        generated: The samples.
        real: The real data.
        recognised: Results of the classifier; None: there are no classes.
        copies: Results of the search for copies; None: no search.
        defects: Defects of each sample.
        gaps: (N,) distance of each sample to the nearest real example in feature space.
        compared: Distributions of single numbers.
        followed: Retrieval of the prompts; None: the samples have none.
    """

    generated: GeneratedSet
    real: RealData
    recognised: RecognitionResult | None
    copies: MemorizationResult | None
    defects: list[DefectMeasure]
    gaps: np.ndarray
    compared: list[MeasureComparison] = field(default_factory=list)
    followed: PromptResult | None = None


def sample_records(found: PerSampleResults) -> Records:
    """A record for each sample: its file, class, predicted class, nearest training example, prompt, defects."""
    examples, classes, out = found.generated.examples, found.real.classes, []
    prompts = found.generated.prompts
    for i, (source, label) in enumerate(zip(examples.sources, examples.labels.tolist(), strict=True)):
        row: dict[str, Any] = {"file": source}
        if label >= 0:
            row["label"] = classes[label]
        if found.recognised is not None:
            row["recognised"] = classes[int(found.recognised.predicted[i])]
        if found.copies is not None:
            matches = found.copies.samples
            row["similarity"] = round(float(matches.similarity[i]), 4)
            row["nearest"] = found.real.train.sources[int(matches.nearest[i])]
        if prompts and prompts[i]:
            row["prompt"] = prompts[i]
        row["outside"] = [one.table.key for one in found.compared if one.outside[i] > 0]
        row["defects"] = [d.key for d in found.defects if bool(d.flags[i])]
        out.append(row)
    if found.followed is not None:
        for i, right in zip(found.followed.rows, found.followed.found.right.tolist(), strict=True):
            out[i]["prompt_found"] = right
    return out


def build_gallery(
    adapter: EvaluationAdapter, found: PerSampleResults, records: Records, shown: int
) -> list[GalleryRow]:
    """Samples, real examples, and the worst samples by each kind of result; nothing where `shown` is 0."""
    if not shown:
        return []
    rows = [
        _samples(adapter, found, records, shown),
        _real(adapter, found.real),
        _most_similar(adapter, found, records),
        _farthest(adapter, found, records),
        _outside(adapter, found, records),
        _misclassified(adapter, found, records),
        _prompts(adapter, found, records, best=False),
        _prompts(adapter, found, records, best=True),
        _defective(adapter, found, records),
    ]
    return [row for row in rows if row is not None and row.items]


def _items(
    adapter: EvaluationAdapter,
    found: PerSampleResults,
    records: Records,
    indices: list[int],
    note: Callable[[int], str] = lambda i: "",
    warn: Callable[[int], bool] = lambda i: False,
) -> list[GalleryItem]:
    raw = found.generated.raw
    return [GalleryItem(adapter.preview(raw[i]), _caption(records[i], note(i)), warn(i)) for i in indices]


def _samples(adapter: EvaluationAdapter, found: PerSampleResults, records: Records, shown: int) -> GalleryRow:
    chosen = _classes_in_turn(found.generated.examples, shown)

    def wrong(i: int) -> bool:
        return records[i].get("recognised", records[i].get("label")) != records[i].get("label")

    about = f"{len(chosen)} of {len(records)}, not chosen by quality."
    return GalleryRow("Samples", about, _items(adapter, found, records, chosen, warn=wrong))


def _real(adapter: EvaluationAdapter, real: RealData) -> GalleryRow:
    held_out = real.held_out if real.held_out is not None and len(real.held_out) else None
    chosen = balanced_subset(real.train if held_out is None else held_out, WORST)
    names = [real.classes[k] if k >= 0 else "" for k in chosen.labels.tolist()]
    items = [
        GalleryItem(adapter.preview(media), _joined(name, source))
        for media, name, source in zip(chosen.unpadded(), names, chosen.sources, strict=True)
    ]
    return GalleryRow(f"Real {adapter.nouns[1]}", "For comparison" + (", held out." if held_out else "."), items)


def _most_similar(adapter: EvaluationAdapter, found: PerSampleResults, records: Records) -> GalleryRow | None:
    if found.copies is None:
        return None
    matches, threshold, train, items = found.copies.samples, found.copies.threshold, found.real.train, []
    for i in matches.similarity.argsort(descending=True, stable=True)[: WORST // 2].tolist():
        value, near = float(matches.similarity[i]), int(matches.nearest[i])
        caption = _caption(records[i], f"similarity {value:.3f}")
        items.append(GalleryItem(adapter.preview(found.generated.raw[i]), caption, value > threshold))
        original = adapter.preview(train.select([near]).unpadded()[0])
        items.append(GalleryItem(original, _joined("its nearest", train.sources[near])))
    about = f"Each sample and the training example it is most similar to. Above {threshold:.3f} it counts as a copy."
    return GalleryRow("Most similar to training data", about, items)


def _farthest(adapter: EvaluationAdapter, found: PerSampleResults, records: Records) -> GalleryRow:
    far = torch.from_numpy(found.gaps).argsort(descending=True)[:WORST].tolist()
    about = "Samples whose features are farthest from those of any real one: defects, or what the data lacks."
    items = _items(adapter, found, records, far, lambda i: f"distance {found.gaps[i]:.1f}")
    return GalleryRow("Farthest from the data", about, items)


def _outside(adapter: EvaluationAdapter, found: PerSampleResults, records: Records) -> GalleryRow | None:
    if not found.compared:
        return None
    beyond = np.stack([one.outside for one in found.compared], 1)  # (N, measures)
    order = beyond.max(1).argsort(kind="stable")[::-1]
    far = [int(i) for i in order[:WORST] if beyond[i].max() > 0]

    def note(i: int) -> str:
        one = found.compared[int(beyond[i].argmax())]
        value, low, high = (format_number(one.table.format, v) for v in (one.values[i], *one.ranges[i]))
        return f"{one.table.name}: {value}; real {low} to {high}"

    about = (
        f"{int((beyond.max(1) > 0).sum())} of {len(records)} samples have a number outside the range of 98 % of the "
        f"real {adapter.nouns[1]}, of their class where it has enough. Shown are those farthest outside."
    )
    return GalleryRow("Outside of the real distributions", about, _items(adapter, found, records, far, note))


def _misclassified(adapter: EvaluationAdapter, found: PerSampleResults, records: Records) -> GalleryRow | None:
    if found.recognised is None:
        return None
    wrong = torch.nonzero(found.recognised.predicted != found.generated.examples.labels)[:, 0].tolist()
    about = f"{len(wrong)} samples that the classifier assigns to another class."
    return GalleryRow("Misclassified", about, _items(adapter, found, records, wrong[:WORST]))


def _prompts(adapter: EvaluationAdapter, found: PerSampleResults, records: Records, best: bool) -> GalleryRow | None:
    """The samples whose similarity to their prompt is farthest above that to another caption, or farthest below."""
    if found.followed is None:
        return None
    rows, result = found.followed.rows, found.followed.found
    order = result.margin.argsort(descending=best, stable=True)[:WORST].tolist()
    place = {rows[k]: k for k in order}

    def note(i: int) -> str:
        return "" if result.right[place[i]] else f"found: {result.nearest[place[i]]}"

    about = "Samples by the similarity to their prompt, less that to the most similar of the other captions."
    items = _items(adapter, found, records, [*place], note, lambda i: not result.right[place[i]])
    return GalleryRow(f"Prompts followed {'best' if best else 'least'}", about, items)


def _defective(adapter: EvaluationAdapter, found: PerSampleResults, records: Records) -> GalleryRow:
    names = {d.key: d.name for d in found.defects}
    faulty = [i for i, row in enumerate(records) if row["defects"]]

    def note(i: int) -> str:
        return ", ".join(names[key] for key in records[i]["defects"])

    items = _items(adapter, found, records, faulty[:WORST], note, lambda i: True)
    return GalleryRow("With defects", f"{len(faulty)} of {len(records)} samples.", items)


def _caption(record: dict[str, Any], note: str) -> str:
    label, predicted = record.get("label"), record.get("recognised")
    name = "" if label is None else str(label)
    if predicted is not None and predicted != label:
        name += f", classified as {predicted}"
    return _joined(shorten(record.get("prompt", "")), name, note, record["file"])


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _classes_in_turn(examples: ExampleSet, count: int) -> list[int]:
    """The first samples of each class in turn; the first ones where there are no classes."""
    if not examples.labelled:
        return list(range(min(count, len(examples))))
    turn, count_of = [], {}
    for label in examples.labels.tolist():
        turn.append(count_of.get(label, 0))
        count_of[label] = turn[-1] + 1
    order = sorted(range(len(examples)), key=lambda i: (turn[i], int(examples.labels[i]), i))
    return order[:count]
