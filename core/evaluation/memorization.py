"""Memorization: how similar samples are to training examples, compared with held-out examples and planted copies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .adapter import EvaluationAdapter
from .examples import ENOUGH, ExampleSet, balanced_subset
from .near_copies import NearestMatches
from .report.contents import Measurement, ReferenceValue, SimilarityHistogram

PLANTED, HELD_OUT = 60, 500  # planted copies per kind; maximum number of held-out examples for the threshold
FALSE_ALARMS, RECALL = 0.01, 0.95


@dataclass(frozen=True)
class MemorizationResult:
    """Result of the search for copies.

    Attributes:
        samples: Similarity of each sample to its nearest training example, and the index of that example.
        held_out: (M,) the same similarity for held-out examples; empty where there are none.
        threshold: Similarity above which a sample counts as a copy.
        false_alarms: Share of the held-out examples above it.
        recall: Kind of alteration -> share of planted copies above it.
        measured: Whether the threshold was measured on held-out examples; otherwise it is the adapter's default.
    """

    samples: NearestMatches
    held_out: Tensor
    threshold: float
    false_alarms: float
    recall: dict[str, float]
    measured: bool

    @property
    def mean_recall(self) -> float:
        """Share of all planted copies above the threshold."""
        return sum(self.recall.values()) / max(1, len(self.recall))

    def histogram(self) -> SimilarityHistogram:
        """Data of the histogram on the page."""
        return SimilarityHistogram(self.samples.similarity.tolist(), self.held_out.tolist(), self.threshold)


def measure_memorization(
    adapter: EvaluationAdapter, generated: ExampleSet, train: ExampleSet, held_out: ExampleSet | None, seed: int = 0
) -> MemorizationResult:
    """Compare every sample with every training example.

    The threshold is the similarity that 99 % of the held-out examples stay below; where fewer than 100 are held out, it
    is the adapter's default.
    """
    samples = adapter.nearest(generated.media, train.media)
    others = torch.zeros(0)
    if held_out is not None and len(held_out):
        others = adapter.nearest(balanced_subset(held_out, HELD_OUT, seed).media, train.media).similarity
    enough = len(others) >= ENOUGH
    threshold = float(others.quantile(1 - FALSE_ALARMS)) if enough else adapter.copy_threshold
    originals = list(balanced_subset(train, PLANTED, seed).media)
    recall = {
        kind: share_above(adapter.nearest(copies, train.media).similarity, threshold)
        for kind, copies in adapter.planted_copies(originals, seed).items()
    }
    false_alarms = share_above(others, threshold) if len(others) else float("nan")
    return MemorizationResult(samples, others, threshold, false_alarms, recall, enough)


def share_above(similarity: Tensor, threshold: float) -> float:
    """Share of the values above the threshold."""
    return float((similarity > threshold).double().mean())


def reliability_remarks(found: MemorizationResult, many: str) -> list[str]:
    """Warnings about the reliability of the number of copies."""
    rows = []
    if found.mean_recall < RECALL:
        why = (
            f"real {many} are as similar to each other as copies are"
            if found.measured
            else f"the threshold was set for other {many}"
        )
        rows.append(
            f"Copies: only {found.mean_recall:.0%} of planted copies lie above the threshold: {why}. "
            "The number of near copies is not reliable here: look at the most similar pairs."
        )
    if not found.measured and len(found.held_out) and found.false_alarms > 0.05:
        rows.append(
            f"Copies: {found.false_alarms:.0%} of the held-out {many} lie above the threshold too, so what lies above "
            "it need not be copied."
        )
    return rows


def memorization_measurements(found: MemorizationResult, many: str) -> list[Measurement]:
    """The lines of the report's table."""
    held_out, name = found.held_out, f"held-out {many}"
    if found.measured:
        meaning = f"more similar to a training example than 99 % of {name} are (similarity above {found.threshold:.3f})"
    else:
        meaning = (
            f"similarity above {found.threshold:.3f}, a fixed threshold: {len(held_out)} {name} are too few to set one"
        )
    kinds = ", ".join(f"{kind} {value:.0%}" for kind, value in found.recall.items())
    alarms = (ReferenceValue(name, found.false_alarms),) if len(held_out) else ()
    median = (ReferenceValue(name, float(held_out.median())),) if len(held_out) else ()
    copied = share_above(found.samples.similarity, found.threshold)
    return [
        Measurement("copies", "near copies", copied, "{:.1%}", None, alarms, meaning),
        Measurement(
            "planted_found",
            "planted copies found",
            found.mean_recall,
            "{:.1%}",
            meaning=f"by the same search, at the same threshold: {kinds}; below 95 % the line above is not reliable",
        ),
        Measurement(
            "similarity",
            "similarity to training data",
            float(found.samples.similarity.median()),
            "{:.3f}",
            None,
            median,
            f"median; far above that of {name}, the model repeats its training data",
        ),
    ]
