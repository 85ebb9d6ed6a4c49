"""Copies of training examples: how alike samples are to them, beside held-out examples and copies made on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .adapter import ENOUGH, Alike, Beside, EvaluationAdapter, ExampleSet, Figure
from .examples import spread

PLANTED, HELD = 60, 500  # copies of each kind that are made; held-out examples that set the limit, at the most
ALARMS, RECALL = 0.01, 0.95


@dataclass(frozen=True)
class Novelty:
    """What the search found.

    samples: likeness of each sample to its nearest training example, and which that is
    held:    the same of held-out examples; empty where none are
    limit:   likeness above which a sample counts as a copy; alarms: share of the held-out ones above it
    recall:  share of planted copies above it, by kind
    """

    samples: Alike
    held: Tensor
    limit: float
    alarms: float
    recall: dict[str, float]
    learned: bool

    def histogram(self) -> dict[str, list[float]]:
        """What the page draws: the likeness of samples and of held-out examples, and the limit."""
        return {
            "samples": self.samples.value.tolist(),
            "held out": self.held.tolist(),
            "limit": [self.limit],
        }


def search(
    judge: EvaluationAdapter, made: ExampleSet, train: ExampleSet, held: ExampleSet | None, seed: int = 0
) -> Novelty:
    """Compare every sample with every training example.

    The limit is the likeness that 99 % of the held-out examples stay below; where fewer than 100 are held out, it is
    the judge's own.
    """
    samples = judge.alike(made.media, train.media)
    beside = torch.zeros(0)
    if held is not None and len(held):
        beside = judge.alike(spread(held, HELD, seed).media, train.media).value
    enough = len(beside) >= ENOUGH
    limit = float(beside.quantile(1 - ALARMS)) if enough else judge.limit
    some = spread(train, PLANTED, seed)
    planted = judge.planted(list(some.media), seed)
    recall = {kind: share(judge.alike(copies, train.media).value, limit) for kind, copies in planted.items()}
    alarms = share(beside, limit) if len(beside) else float("nan")
    return Novelty(samples, beside, limit, alarms, recall, enough)


def doubts(found: Novelty, many: str) -> list[str]:
    """What a reader must know before believing the count of copies."""
    rows, recall = [], sum(found.recall.values()) / max(1, len(found.recall))
    if recall < RECALL:
        why = (
            f"real {many} are as alike to each other as copies are"
            if found.learned
            else f"the limit suits other {many}"
        )
        rows.append(
            f"Copies: only {recall:.0%} of planted copies lie above the limit, for {why}. "
            "The count of near copies says little here: look at the most alike pairs."
        )
    if not found.learned and len(found.held) and found.alarms > 0.05:
        rows.append(
            f"Copies: {found.alarms:.0%} of the held-out {many} lie above the limit too, so what lies above it need "
            "not be copied."
        )
    return rows


def share(likeness: Tensor, limit: float) -> float:
    """Share of the values above the limit."""
    return float((likeness > limit).double().mean())


def figures(found: Novelty, many: str) -> list[Figure]:
    """The lines of the table."""
    copied = share(found.samples.value, found.limit)
    beside = (Beside(f"held-out {many}", found.alarms),) if len(found.held) else ()
    if found.learned:
        means = f"more alike to a training example than 99 % of held-out {many} are (likeness above {found.limit:.3f})"
    else:
        means = (
            f"likeness above {found.limit:.3f}, a fixed limit: {len(found.held)} held-out {many} are too few to set one"
        )
    kinds = ", ".join(f"{kind} {value:.0%}" for kind, value in found.recall.items())
    found_all = sum(found.recall.values()) / max(1, len(found.recall))
    median = float(found.samples.value.median())
    usual = (Beside(f"held-out {many}", float(found.held.median())),) if len(found.held) else ()
    return [
        Figure("copies", "near copies", copied, "{:.1%}", None, beside, means),
        Figure(
            "planted_found",
            "planted copies found",
            found_all,
            "{:.1%}",
            None,
            (),
            f"by the same search, at the same limit: {kinds}; below 95 % the line above says little",
        ),
        Figure(
            "likeness",
            "likeness to training data",
            median,
            "{:.3f}",
            None,
            usual,
            f"median; far above that of held-out {many}, the model repeats what it was trained on",
        ),
    ]
