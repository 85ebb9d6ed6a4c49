"""The region of a file that is regenerated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.files import format_path
from ...types import BadInput, MediaSpec
from ...util.notes import issue_note
from .context import EditContext
from .source import SourceFile, read_source_file

Span = tuple[float, float]


@dataclass(frozen=True)
class EditRegion:
    """A part of media: the intersection of spans with box or mask, of those that are given.

    Attributes:
        spans: Parts along the time axis, each (from, to) in seconds; their union counts.
        box: [left, top, right, bottom] in elements of the file, on the two axes that are not time.
        mask: A file that is positive (white) in the part, of the size of the file or enlarged or reduced as a whole.
    """

    spans: Sequence[Span] = ()
    box: Sequence[int] | None = None
    mask: str | Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values that JSON can store."""
        box, mask = self.box and list(self.box), self.mask and str(self.mask)
        return {"spans": [list(span) for span in self.spans], "box": box, "mask": mask}

    def check(self, spec: MediaSpec) -> None:
        """Raise BadInput unless a part is given that media of this kind can have; no file is needed."""
        axes = " and ".join(spec.axes)
        if self.box is not None and self.mask is not None:
            raise BadInput("box and mask exclude each other: give one of them")
        if not self.spans and self.box is None and self.mask is None:
            raise BadInput(f"name the part to regenerate: {_remedy(spec)}")
        wrong = ""
        if self.spans and spec.rate is None:
            wrong = "from and to are seconds along time"
        elif self.box is not None and len(spec.other_axes) != 2:
            wrong = "box is a part along two axes that are not time"
        elif self.mask is not None and not spec.other_axes:
            wrong = "mask is a part along axes that are not time"
        if wrong:
            raise BadInput(f"{wrong}, and {spec.modality} has {axes} only: name the part by {_remedy(spec)}")

    def known_mask(self, context: EditContext, source: SourceFile) -> Tensor:
        """Mask (1, *size) bool: True where the source is known, False where it is regenerated.

        Raises:
            BadInput: No part is given, the part is outside of the source, or the media has no such axis.
        """
        spec = context.spec
        self.check(spec)
        selected = torch.ones(1, *source.size, dtype=torch.bool)
        if self.spans:
            selected &= _along_time(self.spans, spec, source)
        if self.box is not None:
            selected &= _in_box(self.box, context, source)
        if self.mask is not None:
            selected &= _in_mask(self.mask, context, source)
        return ~selected


def _remedy(spec: MediaSpec) -> str:
    ways = ["from=SECONDS to=SECONDS"] if spec.rate is not None else []
    ways += ["box=[left, top, right, bottom]"] if len(spec.other_axes) == 2 else []
    ways += ["mask=FILE"] if spec.other_axes else []
    return " or ".join(ways)


def _along_time(spans: Sequence[Span], spec: MediaSpec, source: SourceFile) -> Tensor:
    """Bool that broadcasts against (1, *size)."""
    n, rate = spec.length_of(source.size) or 0, spec.rate or 0.0
    inside = torch.zeros(n, dtype=torch.bool)
    for start, end in spans:
        if not 0 <= start < end or round(end * rate) > n + 0.01 * rate:
            raise BadInput(
                f"{format_path(source.path)} lasts {n / rate:g} s: from {start:g} to {end:g} s is no part of it"
            )
        inside[round(start * rate) : max(round(end * rate), round(start * rate) + 1)] = True
    shape = [1] * (1 + len(spec.axes))
    shape[1 + (spec.time_axis or 0)] = n
    return inside.reshape(shape)


def _in_box(box: Sequence[int], context: EditContext, source: SourceFile) -> Tensor:
    rows, columns = context.spec.other_axes
    left, top, right, bottom = box
    height, width = _file_size(source, context.spec)
    name = format_path(source.path)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise BadInput(f"box {list(box)} is no part of {name}, {width} x {height}")
    part = [slice(None)] * (1 + len(source.size))
    if (height, width) == (source.size[rows], source.size[columns]):
        part[1 + rows], part[1 + columns] = slice(top, bottom), slice(left, right)
    else:
        places = _fitted(context, source)
        part[1 + rows] = _scaled((top, bottom), places[0], source.size[rows])
        part[1 + columns] = _scaled((left, right), places[1], source.size[columns])
        inner = [part[1 + columns].start, part[1 + rows].start, part[1 + columns].stop, part[1 + rows].stop]
        if inner[0] >= inner[2] or inner[1] >= inner[3]:
            raise BadInput(f"box {list(box)} of {name}, {width} x {height}, is outside of the part that is edited")
        kept = f"{source.size[columns]} x {source.size[rows]}"
        issue_note(f"box {list(box)} of {name}, {width} x {height}, is {inner} of the {kept} edited", stacklevel=5)
    inside = torch.zeros(1, *source.size, dtype=torch.bool)
    inside[tuple(part)] = True
    return inside


def _file_size(source: SourceFile, spec: MediaSpec) -> tuple[int, int]:
    """Height and width of a file as it is: its elements along the two axes that are not time."""
    size = source.size if source.original is None else source.original.size
    rows, columns = spec.other_axes
    return size[rows], size[columns]


def _fitted(context: EditContext, source: SourceFile) -> Sequence[tuple[float, float]]:
    """(scale, offset) of both axes, see `Modality`; a modality that does not state them changes the whole file."""
    modality: Any = context.model.parts.modality
    axes = context.spec.other_axes
    size = source.size if source.original is None else source.original.size
    if hasattr(modality, "fitted"):
        return modality.fitted([size[axis] for axis in axes])
    return [(source.size[axis] / size[axis], 0.0) for axis in axes]


def _scaled(edges: tuple[int, int], place: tuple[float, float], size: int) -> slice:
    """The elements that an interval of the file covers, also in part, within 0 to `size`."""
    scale, offset = place
    low, high = (scale * edge - offset for edge in edges)
    return slice(max(0, math.floor(low + 1e-6)), min(size, math.ceil(high - 1e-6)))


def _in_mask(mask: str | Path, context: EditContext, source: SourceFile) -> Tensor:
    other = read_source_file(context.model, mask, fit=context.recipe.sample.windows is None)
    (height, width), (rows, columns) = (_file_size(s, context.spec) for s in (source, other))
    white = other.given.mean(0)[None] > 0
    if tuple(white.shape[1:]) != source.size or height * columns != width * rows:
        raise BadInput(
            f"{format_path(Path(mask))}, {columns} x {rows}, is no mask of {format_path(source.path)}, {width} x "
            f"{height}: give "
            "one of its size"
        )
    return white
