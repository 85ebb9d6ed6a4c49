"""Interpolation between two files or between two classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...editing.base import Edit
from ...editing.morph import InversionEdit, StartFromStateEdit, slerp
from ...nn.model import ConditionedNetwork
from ...types import BadInput
from ...util.labels import normalise_label
from ...util.paths import expand_home
from ...util.rng import KeyedNoise
from ..conditions import SampleConditions, interpolate_conditions
from ..lengths import PaddedBatch
from ..request import Rows, SampleRequest
from .context import EditContext, stack_padded
from .source import SourceFile


@dataclass(frozen=True)
class MorphEndpoint:
    """A file, its conditions, and the noise (1, C, *spatial) from which the ODE generates it."""

    source: SourceFile
    conditions: SampleConditions
    noise: Tensor


@dataclass(kw_only=True)
class InversionRequest(SampleRequest):
    """Inversion of one file to noise."""

    context: EditContext
    source: SourceFile

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        return [InversionEdit(self.context.encode_source(self.source, self.sizes[0]))]


@dataclass(kw_only=True)
class MorphRequest(SampleRequest):
    """Samples that start from interpolated noise of two files.

    Attributes:
        context: The context of the edit.
        ends: The two files.
        shares: Interpolation weight of the second file in each row, 0 to 1.
        wanted: Media size of each row.
    """

    context: EditContext
    ends: tuple[MorphEndpoint, MorphEndpoint]
    shares: list[float]
    wanted: list[tuple[int, ...]]

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        points = [self._point(self.shares[i], shape) for i, shape in zip(rows, batch.shapes, strict=True)]
        return [StartFromStateEdit(stack_padded(points, batch))]

    def _point(self, share: float, shape: tuple[int, ...]) -> Tensor:
        """The interpolated noise (1, C, *spatial) of a row of this shape."""
        # After the end of the shorter file its noise is undefined: the keyed noise of the run is used there.
        drawn = self.context.top_sigma * KeyedNoise(self.context.recipe.sample_seed, [0], shape).normal("start")
        a, b = (_overlay(drawn, end.noise) for end in self.ends)
        return slerp(a, b, torch.tensor([share]))

    def finish(self, row: int, media: Tensor) -> Tensor:
        s, (a, b) = self.shares[row], (end.source for end in self.ends)
        media = self.context.cut(media, self.wanted[row])
        return media / (a.gain ** (1 - s) * b.gain**s) + (1 - s) * a.offset + s * b.offset


def interpolation_weights(count: int) -> list[float]:
    """`count` (2 or more) equally spaced interpolation weights from 0 to 1, both included."""
    return [i / (count - 1) for i in range(count)]


def are_class_names(a: str | Path, b: str | Path, classes: Sequence[str]) -> bool:
    """Whether both ends are names of classes, and not files.

    Raises:
        BadInput: Only one of them is.
    """
    known = {normalise_label(name) for name in classes}
    named = [not expand_home(end).exists() and normalise_label(end) in known for end in (a, b)]
    if any(named) and not all(named):
        raise BadInput(f"morph goes between two files or between two classes, not from {a} to {b}")
    return all(named)


def morph_request(context: EditContext, a: str | Path, b: str | Path, labels: Sequence, count: int) -> MorphRequest:
    """Request samples that interpolate between two files.

    Args:
        context: The context of the edit.
        a: The first file.
        b: The second file.
        labels: Labels of both, used if a label was requested; otherwise the names of the folders are used.
        count: Number of samples, both ends included.
    """
    shares, spec = interpolation_weights(count), context.spec
    sources = [context.read(Path(end)) for end in (a, b)]
    given = labels if context.labelled else [source.label for source in sources]
    rows = context.conditions(sources, [source.size for source in sources])
    ends = tuple(_end(context, *end) for end in zip(sources, rows, given, strict=True))
    lengths = [spec.length_of(source.size) or 0 for source in sources]
    nearest = [sources[round(s)] for s in shares]
    wanted = [
        spec.with_length(near.size, round((1 - s) * lengths[0] + s * lengths[1]))
        for near, s in zip(nearest, shares, strict=True)
    ]
    conditions = context.conditions(nearest, wanted)
    for row, s in zip(conditions, shares, strict=True):
        row.update(interpolate_conditions(context.model.model, ends[0].conditions, ends[1].conditions, s))
        row.update({"source": sources[0].path.stem, "to": sources[1].path.stem, "share": round(s, 6)})
    return MorphRequest(
        conditions,
        [context.work_size(size) for size in wanted],
        [0] * count,
        masked=True,
        facts={"edit": "morph", "sources": [str(source.path) for source in sources]},
        context=context,
        ends=ends,  # type: ignore[arg-type]
        shares=shares,
        wanted=wanted,
    )


def _end(context: EditContext, source: SourceFile, conditions: SampleConditions, label: object) -> MorphEndpoint:
    if "label" in conditions:
        conditions["label"] = label
    size = context.work_size(source.size)
    request = InversionRequest([conditions], [size], masked=True, context=context, source=source)
    return MorphEndpoint(source, conditions, context.latents(request).cpu())


def _overlay(drawn: Tensor, noise: Tensor) -> Tensor:
    """`noise` (1, C, *spatial) where it is defined, `drawn` (1, C, *spatial) after its end."""
    out = drawn.clone()
    part = tuple(slice(min(n, k)) for n, k in zip(noise.shape, drawn.shape, strict=True))
    out[part] = noise[part]
    return out


def class_morph_request(request: SampleRequest, model: ConditionedNetwork, a: str, b: str) -> SampleRequest:
    """The request with the same initial noise for all samples, and mixtures of two classes as labels."""
    for row, s in zip(request.conditions, interpolation_weights(len(request)), strict=True):
        row["label"] = interpolate_conditions(model, {"label": a}, {"label": b}, s)["label"]
    return replace(request, numbers=[0] * len(request), facts={"edit": "morph", "classes": [a, b]})
