"""What lies between two files, or between two classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..editing.base import Edit
from ..editing.morph import FromNoise, ToNoise, slerp
from ..types import BadInput
from ..util.rng import Noise
from .edit_files import Plan
from .edit_sources import Source
from .lengths import PaddedBatch
from .request import Rows, SampleRequest

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .result import Samples


def morph(
    trained: Pipeline, a: str | Path, b: str | Path, count: int = 5, progress: bool = False, **changes: Any
) -> Samples:
    """`count` steps from a to b; see Pipeline.morph."""
    if type(count) is not int or count < 2:
        raise BadInput(f"count is how many to make, both ends included: 2 or more, not {count!r}")
    shares = [i / (count - 1) for i in range(count)]
    named = [not Path(end).exists() and str(end) in trained.classes for end in (a, b)]
    if any(named) and not all(named):
        raise BadInput(f"morph goes between two files or between two classes, not from {a} to {b}")
    if all(named):
        return _of_classes(trained, str(a), str(b), shares, progress, changes)
    plan = Plan.of(trained, {"use": "heun", "guidance": None, **changes})
    sources = [plan.read(Path(end)) for end in (a, b)]
    labels = [row.get("label") for row in trained.told(plan.recipe, 2)] if plan.labelled else [s.label for s in sources]
    ends = [_End(plan, source, label) for source, label in zip(sources, labels, strict=True)]
    return trained.make(plan.recipe, _way(plan, ends, shares), progress=progress)


class _End:
    """A file, what it is told, and the noise (1, C, *spatial) that comes down to it."""

    def __init__(self, plan: Plan, source: Source, label: Any):
        self.source = source
        task = plan.task([source], [source.length], [0])
        if "label" in task.told[0]:
            task.told[0]["label"] = label
        task.edits = lambda rows, room: [ToNoise(plan.encoded(source, task.lengths[0]))]
        self.noise, self.told = plan.trained.latents(plan.recipe, task).cpu(), task.told[0]


def _way(plan: Plan, ends: list[_End], shares: list[float]) -> SampleRequest:
    """All samples from one end to the other."""
    a, b = (end.source for end in ends)
    lengths = [round((1 - s) * a.length + s * b.length) for s in shares]
    made = plan.task([(a, b)[round(s)] for s in shares], lengths, [0] * len(shares))
    for row, s in zip(made.told, shares, strict=True):
        row.update(_between(plan.trained, ends[0].told, ends[1].told, s))
        row.update({"source": a.path.stem, "to": b.path.stem, "share": round(s, 6)})
    seed, top = plan.recipe.sample_seed, plan.noisiest

    def edits(rows: Rows, room: PaddedBatch) -> list[Edit]:
        # Behind the end of the shorter one there is no noise of its own: what the run would draw stands there.
        drawn = top * Noise(seed, [0], room.shape).normal("start")
        share = torch.tensor([shares[i] for i in rows])
        noises = [_laid_over(drawn, end.noise).expand(len(rows), *room.shape) for end in ends]
        return [FromNoise(slerp(noises[0], noises[1], share))]

    def finish(i: int, media: Tensor) -> Tensor:
        s, kept = shares[i], media[..., : plan.kept(lengths[i], made.lengths[i])]
        return kept / (a.gain ** (1 - s) * b.gain**s) + (1 - s) * a.offset + s * b.offset

    made.edits, made.finish = edits, finish
    made.facts = {"edit": "morph", "sources": [str(end.source.path) for end in ends]}
    return made


def _laid_over(drawn: Tensor, own: Tensor) -> Tensor:
    """`own` (1, C, *spatial) as far as it reaches, `drawn` (1, C, *spatial) beyond."""
    out = drawn.clone()
    part = tuple(slice(min(n, k)) for n, k in zip(own.shape, drawn.shape, strict=True))
    out[part] = own[part]
    return out


def _between(trained: Pipeline, a: dict[str, Any], b: dict[str, Any], share: float) -> dict[str, Any]:
    """What is told `share` of the way from a to b; where one end is not told, what the nearer end is told."""
    told = {}
    for name, condition in trained.model.conditions.items():
        known: Any = condition
        ends = [None if row.get(name) is None else known.parse(row[name]) for row in (a, b)]
        missing = any(end is None for end in ends)
        value = ends[round(share)] if missing else known.between(*ends, share)
        told[name] = None if value is None else known.show(value)
    return told


def _of_classes(
    trained: Pipeline, a: str, b: str, shares: list[float], progress: bool, changes: dict[str, Any]
) -> Samples:
    """One start, told mixtures of the two classes; all of one length."""
    asked = {**changes, "count": len(shares), "label": [a, b]}
    recipe, rate = trained.changed(asked), trained.parts.spec.rate
    task = trained.task(recipe)
    if rate is not None and recipe.sample.seconds is None and trained.parts.clip_lengths:
        recipe = trained.changed({**asked, "seconds": task.lengths[0] / rate})
        task = trained.task(recipe)
    for row, s in zip(task.told, shares, strict=True):
        row.update({"label": _between(trained, {"label": a}, {"label": b}, s)["label"]})
    facts = {"edit": "morph", "classes": [a, b]}
    return trained.make(recipe, replace(task, numbers=[0] * len(shares), facts=facts), progress=progress)
