"""Drawings of media, one at a time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from ..util.atomic_replace import replace_whole_file

DRAWING = threading.Lock()
"""Held while something is drawn: matplotlib is not safe in several threads."""


def draw_file(modality: Any, file: Path, target: Path) -> Path:
    """Draw a file, unless this was done since it last changed.

    Args:
        modality: Reads and draws it.
        file: The file.
        target: Where the drawing is kept.
    """
    if target.is_file() and target.stat().st_mtime_ns >= file.stat().st_mtime_ns:
        return target
    media = modality.read(file)
    with DRAWING, replace_whole_file(target) as part:
        modality.sheet(part, [media])
    return target
