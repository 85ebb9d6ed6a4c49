"""Variations of files (Meng et al. 2022, "SDEdit", arXiv:2108.01073): noise is added, then sampling follows."""

from __future__ import annotations

from dataclasses import dataclass

from ...editing.base import Edit
from ...editing.vary import VaryEdit
from ..lengths import PaddedBatch
from ..request import Rows
from .context import EditContext, stack_padded
from .file_request import FileRequest
from .options import VaryOptions
from .source import Files, as_path_list


@dataclass(kw_only=True)
class VaryRequest(FileRequest):
    """Variations of sources, one per row.

    Attributes:
        strength: 0 (the source as the codec reconstructs it) to 1 (a sample that does not depend on it).
    """

    strength: float

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        encoded = [self.context.encode_source(self.sources[i], self.sizes[i]) for i in rows]
        return [VaryEdit(stack_padded(encoded, batch), self.strength)]


def vary_request(context: EditContext, files: Files, options: VaryOptions) -> VaryRequest:
    """Request variations of each file.

    Raises:
        BadInput: A file cannot be read.
    """
    paths, count, strength = as_path_list(files), options.count, options.strength
    sources = [source for source in map(context.read, paths) for _ in range(count)]
    sizes = [source.size for source in sources]
    return VaryRequest(
        context.conditions(sources, sizes),
        [context.work_size(size) for size in sizes],
        [k for _ in paths for k in range(count)],
        masked=True,
        facts={"edit": "vary", "strength": strength, "sources": [str(path) for path in paths]},
        context=context,
        sources=sources,
        strength=strength,
    )
