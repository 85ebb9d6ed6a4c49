"""Paths as users write them."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from .errors import BadInput
from .messages import shorten


def expand_home(text: str | Path, look: bool = True) -> Path:
    """A path in which `~` or `~user` at the beginning is replaced by the home folder.

    Args:
        text: The path as it is written.
        look: Whether to ask the file system if it can hold such a name; not for paths that are not trusted.

    Raises:
        BadInput: There is no such user, or the text cannot be a path, see `check_path`. The path need not exist.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise BadInput(f"{_shown(text)}: no such home folder; a name that starts with ~ is written ./~name") from None
    return check_path(path, look)


def check_path(path: Path, look: bool = True) -> Path:
    """The path, if it can be one; it need not exist.

    Args:
        path: Any path.
        look: As in `expand_home`.

    Raises:
        BadInput: It contains the character NUL, is not valid Unicode, or is too long for the file system.
    """
    try:
        if "\0" in os.fspath(path):
            raise ValueError("NUL")
        os.fsencode(path)
    except ValueError:
        raise BadInput(f"{_shown(path)}: no path can contain these characters (NUL, or invalid Unicode)") from None
    if look:
        try:
            os.lstat(path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise BadInput(f"{_shown(path)}: too long for the name of a file or folder") from None
    return path


def _shown(text: str | Path) -> str:
    return shorten(str(text)).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def is_url(path: str | Path) -> bool:
    """Whether a path is a place that fsspec reaches, such as s3://bucket/folder; also after Path has joined the //."""
    return re.match(r"[a-z][a-z0-9+.-]+:/", str(path)) is not None  # two letters or more: C:/ is a drive


def url_of(path: Path) -> str:
    """The URL of a path for which `is_url` holds."""
    protocol, place = str(path).split(":", 1)
    return f"{protocol}://{place.lstrip('/')}"


def file_stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last change in ns, by which a cache sees that a file has changed; 0 if it is gone."""
    try:
        facts = path.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
