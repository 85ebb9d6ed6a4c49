"""The small network of a run's data, as both the recogniser and the learned features use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..types import BadInput
from .adapter import EvaluationAdapter
from .classifier import Classifier, trained

LEAST = 8  # examples; fewer teach nothing


def network(
    judge: EvaluationAdapter,
    media: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    epochs: int | None = None,
    cache: Path | None = None,
) -> Classifier:
    """A network trained on `media` with labels (N,); where classes or labels are missing, without them.

    epochs: None: the judge's; fewer where there are many examples, so that a minute is enough
    cache:  folder where networks are kept

    Raises BadInput for fewer than 8 examples.
    """
    if len(media) < LEAST:
        raise BadInput(f"{len(media)} real examples are too few to train the small network of eval: {LEAST} or more")
    x = judge.pictures(media)
    y = labels if classes and int(labels.min()) >= 0 else None
    settings = replace(judge.settings, epochs=epochs or judge.settings.epochs, batch=min(judge.settings.batch, len(x)))
    return trained(x, y, classes, judge.vary, settings.within(len(x), x.shape[-2] * x.shape[-1]), cache)
