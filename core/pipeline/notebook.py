"""Samples as a cell of a notebook shows them: media in data URLs with their captions, of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..types import Modality
from ..util.html_templates import template_engine
from ..util.media_files import MediaFile, preview_files

MOST_SHOWN, MOST_BYTES = 24, 4_000_000  # samples, and bytes of their files, in one output
CAPTION = 200  # largest width of a caption without line break, in units of CSS


class ShownSample(NamedTuple):
    """A sample of the output: its files and its caption."""

    files: list[MediaFile]
    caption: str


def samples_to_html(modality: Modality, media: Sequence[Tensor], captions: Sequence[str]) -> str | None:
    """HTML that shows samples, those that fit into MOST_BYTES; at least one.

    Args:
        modality: The modality, whose evaluation adapter makes the files.
        media: The samples, (C, *spatial) each.
        captions: Their captions.

    Returns:
        The HTML; None if the modality makes no files that a page can show.
    """
    items: list[ShownSample] = []
    size = 0
    for one, caption in zip(media[:MOST_SHOWN], captions, strict=False):
        files = preview_files(modality, one)
        size += sum(len(file.url) for file in files)
        if not files or (items and size > MOST_BYTES):
            break
        items.append(ShownSample(files, caption))
    if not items:
        return None
    rest = len(media) - len(items)
    left = f"{rest} more: save(folder) writes all of them" if rest else ""
    template = template_engine(Path(__file__).parent / "templates").get_template("samples.html.j2")
    return template.render(items=items, left=left, width=CAPTION)
