"""Folders that results are written to."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from .errors import BadInput


def need_writable(folder: Path) -> None:
    """Raise BadInput unless `folder` is, or can be made, a folder that takes a file.

    It is tried, for rights alone do not tell of mounts and names; what was made is removed again.
    """
    above = next(p for p in (folder, *folder.absolute().parents) if os.path.exists(p))
    if not above.is_dir():
        raise BadInput(f"{above} is a file: name another folder with --out")
    missing = [p for p in (folder, *folder.absolute().parents) if not os.path.exists(p)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        raise BadInput(
            f"{folder} cannot be written to ({e.strerror}): name another folder with --out, or change its rights"
        ) from e
    finally:
        for made in missing:
            with suppress(OSError):
                made.rmdir()
