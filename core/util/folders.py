"""Output folders."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from .errors import BadInput


def need_writable(folder: Path) -> None:
    """Raise BadInput unless a file can be created in `folder`, which may not exist yet.

    A file is created for the test, since permissions do not show read-only mounts or invalid names; everything that the
    test creates is removed.
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
        for created in missing:
            with suppress(OSError):
                created.rmdir()
