"""Output folders: whether they can be written to, and names of files: from data, and for commands while they write."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .errors import BadInput
from .interrupts import begin_work
from .paths import check_path

LONGEST_WORD, LONGEST_NAME = 40, 200  # characters of one word, and bytes of the whole: file systems take 255 bytes


def clean_name_part(text: object) -> str:
    """A text as a part of a file's name: letters and digits of any script, `-`, `_` and `.`; all else becomes `_`."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in str(text)[:LONGEST_WORD])


def file_stem(text: object, default: str) -> str:
    """A text as the beginning of a file's name, which is not hidden and not an option of a command."""
    return clean_name_part(text).lstrip("-.") or default


def file_name(number: str, words: Iterable[object], suffix: str) -> str:
    """The name of a file: a number, then words such as the class of a sample, with dashes between them.

    The words may be any text, and what is too long is cut. The number comes first, so that no name is hidden, an option
    of a command, or reserved by a system.
    """
    name = "-".join([number, *map(clean_name_part, words)]).encode()[: LONGEST_NAME - len(suffix.encode())]
    return name.decode(errors="ignore") + suffix


OWN = ".sonolux."
"""Start of the names of the files that exist only while a command writes, or after it was killed."""


def is_work_file(name: str) -> bool:
    """Whether a file in an output folder belongs to a command that is writing, or that was killed."""
    return name.startswith(OWN)


def clear_own_name(path: Path, folder: bool = False) -> None:
    """Remove what has a name of OWN but is not what sonolux makes: a link, not its target; a pipe; a folder for a file.

    Args:
        path: The path, whose name only sonolux uses.
        folder: Whether a folder is wanted.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode) and not folder:
        shutil.rmtree(path)
    elif not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        path.unlink()


def check_kinds(folder: Path, files: Iterable[str] = (), folders: Iterable[str] = ()) -> None:
    """Raise BadInput if something else, such as a link, has the place of a file or folder that sonolux writes to.

    So nothing is written or removed through links inside of an output folder, and no pipe is waited for. What is
    written as a whole replaces a link itself, and needs no check.

    Args:
        folder: The output folder, which may be a link.
        files: Names of files in it.
        folders: Names of folders in it.
    """
    for name, wanted in (*dict.fromkeys(files, stat.S_ISREG).items(), *dict.fromkeys(folders, stat.S_ISDIR).items()):
        path = folder / name
        if os.path.lexists(path) and not wanted(path.lstat().st_mode):
            kind = "a folder" if wanted is stat.S_ISDIR else "a file"
            raise BadInput(
                f"{path} is a link, through which nothing is written: put {kind} there, or make {folder} the link"
                if path.is_symlink()
                else f"{path} is not {kind}, and sonolux writes one there: move it"
            )


def list_names(folder: Path) -> list[str]:
    """Names in a folder without those of `is_work_file`; empty if the folder does not exist."""
    return sorted(path.name for path in folder.iterdir() if not is_work_file(path.name)) if folder.is_dir() else []


def missing_folders(folder: Path) -> list[Path]:
    """The folder and the folders above it that do not exist, innermost first."""
    return [p for p in (folder, *folder.absolute().parents) if not os.path.exists(p)]


def check_writable(folder: Path) -> None:
    """Raise BadInput unless a file can be created in `folder`, which may not exist yet.

    A file is created for the test, since permissions do not show read-only mounts or invalid names; everything that the
    test creates is removed.
    """
    check_path(folder)
    begin_work()
    above = next(p for p in (folder, *folder.absolute().parents) if os.path.exists(p))
    if not above.is_dir():
        raise BadInput(f"{above} is a file: name another folder with --out")
    missing = missing_folders(folder)
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
