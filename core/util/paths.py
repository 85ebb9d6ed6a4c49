"""Paths as users write them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from .errors import BadInput
from .messages import shorten


def expand_home(text: str | Path, look: bool = True) -> Path:
    """A path in which `~` or `~user` at the beginning is replaced by the home folder.

    Args:
        text: The path as it is written.
        look: Whether to ask the file system if it can hold such a name; not for paths that are not trusted.

    Raises:
        BadInput: There is no such user, or the text cannot be a path: it contains the character NUL, is not valid
            Unicode, or is too long. The path need not exist.
    """
    shown = shorten(str(text)).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    try:
        path = Path(text).expanduser()
        if "\0" in os.fspath(path):
            raise ValueError("NUL")
        os.fsencode(path)
    except RuntimeError:
        raise BadInput(f"{shown}: no such home folder; a name that starts with ~ is written ./~name") from None
    except ValueError:
        raise BadInput(f"{shown}: no path can contain these characters (NUL, or invalid Unicode)") from None
    if look:
        try:
            os.lstat(path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise BadInput(f"{shown}: too long for the name of a file or folder") from None
    return path
