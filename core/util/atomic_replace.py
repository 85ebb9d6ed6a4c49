"""Results that replace earlier ones as a whole: at every moment a folder holds the old files or all of the new ones.

New files are written to a hidden folder inside of the output folder. When they are complete, that folder is renamed,
and the files are moved to their places. If the process is killed before the renaming, nothing has changed; if it is
killed after it, the next command that writes to the folder moves the remaining files (`recover_folder`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from pydantic import TypeAdapter

from .errors import BadInput
from .folders import OWN, check_kinds, check_writable, clear_own_name
from .interrupts import begin_work, defer_signals
from .json_files import StoredRecord, read_json
from .locks import FolderLock, process_exists
from .paths import check_path

PART, READY, TEMPORARY = f"{OWN}part", f"{OWN}ready", f"{OWN}tmp."
RECORD = f"{OWN}json"


@contextmanager
def reserve_folder(folder: Path) -> Iterator[None]:
    """Reserve an output folder for this process, and remove what killed commands left in it.

    A folder that did not exist and is empty at the end is removed.

    Raises:
        BadInput: The folder cannot be written to, or another process writes to it.
    """
    check_writable(folder)
    lock = FolderLock(folder)
    if lock.acquire():
        try:
            recover_folder(folder)
            yield
        finally:
            lock.release()
    else:
        yield


@contextmanager
def replace_files(folder: Path, old: Callable[[], Iterable[str]] = tuple) -> Iterator[Path]:
    """A hidden folder for new files, which replace old ones in `folder` at the end, and only if no exception occurred.

    Args:
        folder: The output folder, reserved meanwhile.
        old: Called at the end; names of the files of the earlier result, relative to `folder`, which are removed. Files
            with the names of new ones are replaced too, all others stay.

    Raises:
        BadInput: The folder cannot be written to, or a new file has the name of a folder in it.
    """
    with reserve_folder(folder):
        replacement = FolderReplacement(folder)
        try:
            yield replacement.part
            replacement.commit(old())
        except (BadInput, OSError) as error:
            _name_target(error, replacement.part, folder)
            raise
        finally:
            replacement.discard()


class FolderReplacement:
    """New files for a folder.

    Args:
        folder: The folder, reserved by the caller.

    Attributes:
        part: The hidden folder for the new files.
    """

    def __init__(self, folder: Path):
        self.folder, self.part = folder, folder / PART
        self.part.mkdir()

    def commit(self, old: Iterable[str]) -> None:
        """Put the new files in their places and remove the files named in `old`; see `replace_files`."""
        new = sorted(p.relative_to(self.part).as_posix() for p in self.part.rglob("*") if not p.is_dir())
        for name in new:
            if (self.folder / name).is_dir():
                raise BadInput(f"{self.folder / name} is a folder, and a file of this name is to be written: move it")
        old = sorted(set(old))
        check_kinds(self.folder, folders={p.as_posix() for name in (*new, *old) for p in PurePath(name).parents[:-1]})
        is_first = not old and not any((self.folder / name).exists() for name in new)
        record = StoredReplacement(new=new, old=old, first=is_first)
        (self.part / RECORD).write_text(record.model_dump_json(), encoding="utf-8")
        with defer_signals():
            os.rename(self.part, self.folder / READY)
            _move(self.folder, new, old)

    def discard(self) -> None:
        """Remove the new files, unless they were put in their places."""
        shutil.rmtree(self.part, ignore_errors=True)


class StoredReplacement(StoredRecord):
    """What `FolderReplacement.commit` is about to do, in the hidden folder.

    Attributes:
        new: Names of the new files.
        old: Names of the earlier ones, which are removed.
        first: Whether there was no earlier result.
    """

    new: list[str]
    old: list[str]
    first: bool


_RECORD = TypeAdapter(StoredReplacement)


def recover_folder(folder: Path) -> None:
    """Complete what a killed command had begun to put in place, and remove the other files that it left.

    The first result of a folder is removed instead, so that the same command can be repeated.
    """
    ready = folder / READY
    for path in (ready, folder / PART):
        clear_own_name(path, folder=True)
    if ready.is_dir():
        record = _record(folder)
        if record is None:  # the files were moved already
            shutil.rmtree(ready)
        elif record.first:
            moved = [name for name in record.new if not (ready / name).exists()]
            _remove(folder, moved)
            shutil.rmtree(ready)
        else:
            _move(folder, record.new, record.old)
    shutil.rmtree(folder / PART, ignore_errors=True)
    for path in list(folder.iterdir()):
        if path.name.startswith(TEMPORARY):
            _remove_left(path)


def _move(folder: Path, new: list[str], old: list[str]) -> None:
    """Move the files `new` from READY to `folder`, those that are still there, after `old` was removed."""
    _remove(folder, set(old) - set(new))
    for name in new:
        if (folder / READY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / READY / name, folder / name)
    shutil.rmtree(folder / READY)


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files and the folders that are empty then."""
    parents = set[PurePath]()
    for name in names:
        with suppress(IsADirectoryError):  # sonolux makes no folder of this name
            (folder / name).unlink(missing_ok=True)
        parents |= set(PurePath(name).parents[:-1])
    for parent in sorted(parents, key=lambda p: -len(p.parts)):
        with suppress(OSError):
            (folder / parent).rmdir()


def _record(folder: Path) -> StoredReplacement | None:
    """What `commit` wrote; None if it cannot be read, or names files outside of the folder, as one of others may."""
    root = folder.resolve()
    try:
        record = read_json(folder / READY / RECORD, _RECORD)
        names = [*record.new, *record.old]
        inside = all((root / name).parent.resolve().is_relative_to(root) and PurePath(name).name for name in names)
        return record if inside else None
    except (BadInput, OSError, ValueError, RuntimeError):  # no such path, or a link in a circle
        return None


def _name_target(error: BadInput | OSError, part: Path, folder: Path) -> None:
    """Name the target instead of the temporary file in the message of an error."""
    if isinstance(error, OSError):
        if isinstance(error.filename, (str, Path)):
            error.filename = str(error.filename).replace(str(part), str(folder))
    else:
        error.args = tuple(str(text).replace(f"{part.as_posix()}/", f"{folder.as_posix()}/") for text in error.args)


@contextmanager
def replace_whole_file(path: Path, new: bool = False) -> Iterator[Path]:
    """A temporary file name of the same suffix, next to `path`, which it replaces at the end if no exception occurred.

    Missing folders are created. Temporary files of killed processes for the same path are removed.

    Args:
        path: The file.
        new: Raise FileExistsError instead of replacing a file.
    """
    check_path(path)
    begin_work()
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = path.name[-40:]  # the whole name may be as long as the file system takes
    for left in list(path.parent.iterdir()):
        if left.name.startswith(TEMPORARY) and left.name.partition("-")[2] == ending:
            _remove_left(left)
    part = path.with_name(f"{TEMPORARY}{os.getpid()}-{ending}")
    try:
        yield part
        if not new:
            os.replace(part, path)
        else:
            _publish(part, path)
    finally:
        part.unlink(missing_ok=True)


def _publish(part: Path, path: Path) -> None:
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.replace(part, path)


def _remove_left(path: Path) -> None:
    """Remove a temporary file unless the process in its name still exists."""
    pid = path.name.removeprefix(TEMPORARY).partition("-")[0]
    if not (pid.isdecimal() and process_exists(int(pid))):
        with suppress(OSError):
            path.unlink()


def write_text_file(path: Path, text: str, new: bool = False) -> None:
    """Write a text file (UTF-8) as a whole: an earlier file stays if it fails; `new` as in `replace_whole_file`."""
    with replace_whole_file(path, new) as part:
        part.write_text(text, encoding="utf-8")
