"""The region of a file that is regenerated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.files import shown
from ...types import BadInput, MediaSpec
from .context import EditContext
from .source import Source, read_source

Span = tuple[float, float]


@dataclass(frozen=True)
class Region:
    """A part of media: the intersection of those of spans, box and mask that are given.

    Attributes:
        spans: Parts along the time axis, each (from, to) in seconds; their union counts.
        box: [left, top, right, bottom] in elements of the two axes that are not time.
        mask: A file that is positive (white) in the part.
    """

    spans: Sequence[Span] = ()
    box: Sequence[int] | None = None
    mask: str | Path | None = None

    def facts(self) -> dict[str, Any]:
        """The fields as plain values that JSON can store."""
        box, mask = self.box and list(self.box), self.mask and str(self.mask)
        return {"spans": [list(span) for span in self.spans], "box": box, "mask": mask}

    def known(self, context: EditContext, source: Source) -> Tensor:
        """Mask (1, *size) bool: True where the source is known, False where it is regenerated.

        Raises:
            BadInput: No part is given, the part is outside of the source, or the media has no such axis.
        """
        spec = context.spec
        planar = len(spec.other_axes) == 2
        wrong = (self.spans and spec.rate is None) or (self.box is not None and not planar)
        wrong = wrong or (self.mask is not None and not spec.other_axes)
        none = not self.spans and self.box is None and self.mask is None
        if wrong or none or (self.box is not None and self.mask is not None):
            raise BadInput(f"name the part to regenerate: {_remedy(spec)}")
        selected = torch.ones(1, *source.size, dtype=torch.bool)
        if self.spans:
            selected &= _along_time(self.spans, spec, source)
        if self.box is not None:
            selected &= _in_box(self.box, spec, source)
        if self.mask is not None:
            selected &= _in_mask(self.mask, context, source)
        return ~selected


def _remedy(spec: MediaSpec) -> str:
    ways = ["from=SECONDS to=SECONDS"] if spec.rate is not None else []
    ways += ["box=[left, top, right, bottom]"] if len(spec.other_axes) == 2 else []
    ways += ["mask=FILE"] if spec.other_axes else []
    return " or ".join(ways)


def _along_time(spans: Sequence[Span], spec: MediaSpec, source: Source) -> Tensor:
    """Bool that broadcasts against (1, *size)."""
    n, rate = spec.length_of(source.size) or 0, spec.rate or 0.0
    inside = torch.zeros(n, dtype=torch.bool)
    for start, end in spans:
        if not 0 <= start < end or round(end * rate) > n + 0.01 * rate:
            raise BadInput(f"{shown(source.path)} lasts {n / rate:g} s: from {start:g} to {end:g} s is no part of it")
        inside[round(start * rate) : max(round(end * rate), round(start * rate) + 1)] = True
    shape = [1] * (1 + len(spec.axes))
    shape[1 + (spec.time_axis or 0)] = n
    return inside.reshape(shape)


def _in_box(box: Any, spec: MediaSpec, source: Source) -> Tensor:
    rows, columns = spec.other_axes
    height, width = source.size[rows], source.size[columns]
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(type(n) is int for n in box):
        raise BadInput(f"box is [left, top, right, bottom] in media elements, not {box!r}")
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise BadInput(f"box {list(box)} is no part of {shown(source.path)}, {width} x {height}")
    inside = torch.zeros(1, *source.size, dtype=torch.bool)
    part = [slice(None)] * inside.ndim
    part[1 + rows], part[1 + columns] = slice(top, bottom), slice(left, right)
    inside[tuple(part)] = True
    return inside


def _in_mask(mask: str | Path, context: EditContext, source: Source) -> Tensor:
    white = read_source(context.model, mask, fit=context.recipe.sample.windows is None).given.mean(0)[None] > 0
    if tuple(white.shape[1:]) != source.size:
        raise BadInput(f"{shown(Path(mask))} is not as large as {shown(source.path)}")
    return white
