"""Media as files in memory, which web pages, notebooks and loggers show."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple


class MediaFile(NamedTuple):
    """A file that a web page can show: its MIME type ("image/png", "audio/wav") and its bytes."""

    mime: str
    data: bytes

    @property
    def family(self) -> str:
        """The first part of the MIME type."""
        return self.mime.partition("/")[0]

    @property
    def url(self) -> str:
        """The whole file as a URL."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"


def preview_files(modality: Any, media: Any) -> list[MediaFile]:
    """Files that show one example; none for a modality without evaluation adapter.

    Args:
        modality: The modality.
        media: The example, (C, *spatial).
    """
    return list(modality.evaluation().preview(media)) if hasattr(modality, "evaluation") else []
