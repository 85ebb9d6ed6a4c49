"""Folders of media files of any modality: finding files, classes, tables of labels, splits, and unusable files.

A dataset of files: `find_files`, or a table (`tables.py`), lists the candidates; the modality decodes each one and adds
those that it cannot decode to `UnusableFiles`; `UnusableFiles.check` refuses a folder with too many of them;
`labels_from_folders` and `class_names` give the classes; `split` in `splits.py` divides the usable files into training
and validation.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..util.errors import BadInput
from ..util.messages import format_first, format_names, shorten
from ..util.notes import issue_note
from ..util.paths import expand_home
from ..util.progress import with_progress

T = TypeVar("T")

_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}


def natural_sort_key(name: str) -> tuple[Any, ...]:
    """Sort key for which "2" comes before "10", letter case is ignored, and different names have different keys."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(p) if i % 2 else p.casefold() for i, p in enumerate(parts)), name


def format_path(path: Path, root: Path | None = None) -> str:
    """A path as text: relative to `root` if it is inside it, with "/" between the parts, in composed Unicode (NFC).

    The same file has the same text on every system (macOS decomposes accents). Bytes that are not valid Unicode become
    \\xNN.
    """
    if root is not None and path.is_relative_to(root):
        path = path.relative_to(root)
    text = os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def require_folder(root: Path | str | None, key: str = "data.root") -> Path:
    """`root` as a Path.

    Args:
        root: The folder.
        key: The recipe's key for it, for messages.

    Raises:
        BadInput: There is no such folder.
    """
    if root is None or str(root) == "":
        raise BadInput(f"needs {key}: the folder that holds the files")
    try:
        folder = expand_home(root)
    except BadInput as error:
        raise BadInput(f"{key}: {error}") from None
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except (OSError, ValueError) as error:
        reason = _why(folder, error)
        raise BadInput(f"{key}: {'no such folder' if reason == _ABSENT else reason}: {format_path(folder)}") from error
    if not is_folder:
        raise BadInput(f"{key}: {format_path(folder)} is a file; name the folder that holds it")
    return require_unicode_name(folder, key)


def require_unicode_name(path: Path, key: str) -> Path:
    """The path; BadInput for a name that recipes and manifests, which are Unicode text, cannot hold."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(f"{key}: the name {format_path(path)} is not valid Unicode: rename the folder") from error
    return path


_ABSENT = "no such file"
_KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a named pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
}


def unusable_reason(path: Path) -> str | None:
    """Why a path cannot be read as a media file; None if it is a file with content. Nothing is opened.

    Named pipes and devices must not be opened: a reader waits for ever, or the device acts.
    """
    try:
        facts = os.stat(path)
    except (OSError, ValueError) as error:
        return _why(path, error)
    if (kind := stat.S_IFMT(facts.st_mode)) != stat.S_IFREG:
        return _KINDS.get(kind, "is not a file")
    if facts.st_size == 0:
        return "is empty (0 bytes)"
    return None if os.access(path, os.R_OK) else "may not be read (permission denied)"


def _why(path: Path, error: OSError | ValueError) -> str:
    """A short reason why a path cannot be examined."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError)):  # ValueError: a name with a null byte
        return "is a link that leads nowhere" if os.path.islink(path) else _ABSENT
    if error.errno == errno.ELOOP:
        return "is a link in a circle"
    return "permission denied" if isinstance(error, PermissionError) else error.strerror or str(error)


def find_files(
    root: Path, suffixes: Iterable[str] | None = None, skipped: list[tuple[Path, str]] | None = None
) -> list[Path]:
    """All files in `root` and its subfolders, in natural order of their paths.

    Hidden files and folders (`.x`, so also `._x` of macOS) and system folders (`__MACOSX`) are skipped. Links to
    folders are followed. Each real folder is visited once, by its own path before any link to it, so that circular
    links are harmless. What is not a file (a broken link, a named pipe, a device) is listed too, so that the reader
    counts it with the reason (`unusable_reason`). Folders that cannot be read are skipped.

    Args:
        root: The folder.
        suffixes: Suffixes of the files to list, in any letter case; None: all files.
        skipped: The skipped folders are added to it, each with the reason.

    Raises:
        BadInput: `root` is not a folder, or cannot be read.
    """
    root = require_folder(root)
    wanted = None if suffixes is None else {s.casefold() for s in suffixes}
    paths = (Path(entry.path) for entry in _entries(root, [] if skipped is None else skipped))
    found = [path for path in paths if wanted is None or path.suffix.casefold() in wanted]
    return sorted(found, key=lambda p: [natural_sort_key(part) for part in p.relative_to(root).parts])


def _entries(root: Path, skipped: list[tuple[Path, str]]) -> Iterator[os.DirEntry[str]]:
    """The entries that are not folders; folders breadth first, linked folders last."""
    visited: set[tuple[int, int]] = set()
    real, linked = [str(root)], []
    while real or linked:
        folder = real.pop(0) if real else linked.pop(0)
        try:
            facts = os.stat(folder)
            if (facts.st_dev, facts.st_ino) in visited:
                continue
            visited.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda e: natural_sort_key(e.name))
        except OSError as error:
            reason = _why(Path(folder), error)
            if folder == str(root):
                raise BadInput(f"the folder {format_path(root)} cannot be read: {reason}") from error
            skipped.append((Path(folder), f"is a folder that cannot be read ({reason})"))
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in _SYSTEM_FOLDERS:
                continue
            if _is_folder(entry):
                (linked if entry.is_symlink() else real).append(entry.path)
            else:
                yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def content_hash(path: Path) -> str:
    """blake2b of the file's bytes, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class UnusableFiles:
    """Collects the files that cannot be used: a few are skipped with a warning, too many are an error.

    Args:
        max_share: Largest share of unusable files, 0 to 1, that is skipped.

    Attributes:
        reasons: (file, reason) pairs.
        others: (file or folder, reason) pairs that are skipped in any number: files of formats that are not read, and
            folders that cannot be read.
    """

    def __init__(self, max_share: float = 0.05):
        if not 0 <= max_share <= 1:
            raise BadInput(f"data.max_bad is a share from 0 to 1; got {max_share}")
        self.max_share = max_share
        self.reasons: list[tuple[str, str]] = []
        self.others: list[tuple[str, str]] = []

    def add(self, path: Path | str, reason: str, foreign: bool = False) -> None:
        """Add an unusable file.

        Args:
            path: The file.
            reason: Why it is unusable.
            foreign: Whether it is of a format that is not read, and not damaged: any number of these is skipped.
        """
        found = self.others if foreign else self.reasons
        found.append((format_path(path) if isinstance(path, Path) else path, reason))

    def extend(self, other: UnusableFiles) -> None:
        """Add what another record holds."""
        self.reasons += other.reasons
        self.others += other.others

    def summary(self, most: int = 3) -> str:
        """Each reason with its first few files in one line, most frequent reasons first."""
        by_reason: dict[str, list[str]] = {}
        for path, reason in (*self.reasons, *self.others):
            by_reason.setdefault(reason, []).append(path)
        ordered = sorted(by_reason.items(), key=lambda pair: -len(pair[1]))
        parts = [f"{reason}: {format_first(paths, most)}" for reason, paths in ordered[: 2 * most]]
        return "; ".join(parts) + (f"; and {len(ordered) - 2 * most} other reasons" if len(ordered) > 2 * most else "")

    def check(self, total: int) -> None:
        """Check the unusable files; warn if some are skipped.

        Args:
            total: Number of all files.

        Raises:
            BadInput: No file is usable, or too many are not.
        """
        bad, others = len(self.reasons), len(self.others)
        if bad + others >= total:
            raise BadInput(f"0 usable of {total} files" + (f": {self._short_summary(150)}" if bad + others else ""))
        if bad > self.max_share * total:
            raise BadInput(
                f"{bad} of {total} files are unusable, more than data.max_bad = {self.max_share:g} allows: "
                f"{self._short_summary(55)}; `sonolux prepare FOLDER` lists all. Repair or remove them, or raise it."
            )
        if bad + others:
            issue_note(f"skipped {bad + others} of {total} files: {self.summary()}", stacklevel=2)

    def _short_summary(self, most: int) -> str:
        """`summary` with as many files and reasons as fit into `most` characters."""
        return next((text for n in (3, 2, 1) if len(text := self.summary(n)) <= most), shorten(self.summary(1), most))


class RemarkCollector:
    """Collects remarks on usable files; each kind, the text up to a colon or a number, becomes one note with a count.

    Args:
        noun: Name of several files.
    """

    def __init__(self, noun: str):
        self.noun = noun
        self._by_kind: dict[str, list[str]] = {}

    def add(self, name: str, remarks: Iterable[str]) -> None:
        """Add the remarks on a file."""
        for remark in remarks:
            self._by_kind.setdefault(re.split(r"[:\d]", remark)[0], []).append(f"{name} ({remark})")

    def warn(self, total: int, stacklevel: int = 2) -> None:
        """One warning for each kind.

        Args:
            total: Number of usable files.
            stacklevel: As in `warnings.warn`.
        """
        for about in self._by_kind.values():
            more = f"; and {len(about) - 3} more" if len(about) > 3 else ""
            issue_note(f"{len(about)} of {total} {self.noun}: {'; '.join(about[:3])}{more}", stacklevel=stacklevel + 1)


def labels_from_folders(files: Sequence[Path], root: Path, bad: UnusableFiles) -> list[str | None]:
    """Class of each file: the name of its folder in `root`, at the first level.

    Args:
        files: The files.
        root: The folder that contains the class folders.
        bad: Files directly in `root` are added to it.

    Returns:
        One class per file; None for files directly in `root`.

    Raises:
        BadInput: No file is in a class folder.
    """
    labels: list[str | None] = []
    for path in files:
        parts = path.relative_to(root).parts
        labels.append(format_path(Path(parts[0])) if len(parts) > 1 else None)
    if files and not any(labels):
        raise BadInput(
            f"label: folder needs one folder a class, but all {len(files)} files are directly in {format_path(root)}. "
            "Without classes: data.label=none; with a table of labels: data.table=labels.csv"
        )
    for path, label in zip(files, labels, strict=True):
        if label is None:
            bad.add(format_path(path, root), "is not in a class folder")
    return labels


def class_names(labels: Iterable[str], where: str) -> tuple[str, ...]:
    """The different labels in natural order.

    Args:
        labels: The labels of all examples.
        where: Their source, for the message.

    Raises:
        BadInput: There is only one label.
    """
    names = tuple(sorted(set(labels), key=natural_sort_key))
    if len(names) == 1:
        raise BadInput(
            f"only one class, {names[0]!r}, in {where}. To train without classes: data.label=none "
            "(and no condition on the label); if the class folders are one level deeper, set data.root to that folder"
        )
    return names


def warn_of_lost_classes(found: Iterable[str | None], usable: Iterable[str | None]) -> None:
    """Warn of classes that have files but no usable one.

    Args:
        found: Class of each file that was found.
        usable: Class of each usable file.
    """
    lost = sorted({label for label in found if label is not None} - set(usable), key=natural_sort_key)
    if lost:
        issue_note(
            f"no file is usable of {len(lost)} of the classes, which cannot be trained: {format_names(lost)}",
            stacklevel=3,
        )


def with_file_progress(items: Iterable[T], about: str, total: int | None = None) -> Iterable[T]:
    """Iterate over `items` with a progress bar (rate, remaining time) if it takes longer than two seconds."""
    return with_progress(items, about, "file", total)
