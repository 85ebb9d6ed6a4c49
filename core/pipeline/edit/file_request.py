"""What edits of single files share: each result has the size and the level of its file."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..request import SampleRequest
from .context import EditContext
from .source import SourceFile


@dataclass(kw_only=True)
class FileRequest(SampleRequest):
    """Results that each belong to one file.

    Attributes:
        context: The context of the edit.
        sources: The source of each row.
    """

    context: EditContext
    sources: list[SourceFile]

    def finish(self, row: int, media: Tensor) -> Tensor:
        source = self.sources[row]
        return source.to_file_level(self.context.cut(media, source.size))
