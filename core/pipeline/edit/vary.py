"""Variations of files (SDEdit): noise on each, then sampling from there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...editing.base import Edit
from ...editing.vary import Vary
from ...types import BadInput
from ..lengths import PaddedBatch
from ..request import Rows, SampleRequest
from .context import EditContext, check_count, stack_padded
from .source import Files, Source, listed


@dataclass(kw_only=True)
class VaryRequest(SampleRequest):
    """Variations of sources, one a row.

    Attributes:
        context: The model and its recipe.
        sources: The source of each row.
        strength: 0 (the source as the codec keeps it) to 1 (a sample that does not depend on it).
    """

    context: EditContext
    sources: list[Source]
    strength: float

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        encoded = [self.context.encoded(self.sources[i], self.sizes[i]) for i in rows]
        return [Vary(stack_padded(encoded, batch), self.strength)]

    def finish(self, row: int, media: Tensor) -> Tensor:
        source = self.sources[row]
        return source.back(self.context.kept(media, source.size))


def vary_request(context: EditContext, files: Files, strength: float, count: int) -> VaryRequest:
    """`count` variations of each file.

    Raises:
        BadInput: For files that cannot be read and values out of range.
    """
    if not (isinstance(strength, (int, float)) and 0 <= strength <= 1):
        raise BadInput(f"strength lies between 0 (nothing changes) and 1 (all is new), not {strength!r}")
    check_count(count)
    paths = listed(files)
    sources = [source for source in map(context.read, paths) for _ in range(count)]
    sizes = [source.size for source in sources]
    return VaryRequest(
        context.conditions(sources, sizes),
        [context.work_size(size) for size in sizes],
        [k for _ in paths for k in range(count)],
        facts={"edit": "vary", "strength": strength, "sources": [str(path) for path in paths]},
        context=context,
        sources=sources,
        strength=strength,
    )
