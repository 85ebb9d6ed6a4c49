"""Folders of media files of any modality: finding files, classes, tables of labels, splits, and unusable files.

A dataset of files: `find_files`, or a table (`tables.py`), lists the candidates; the modality decodes each one and adds
those that it cannot decode to `BadFiles`; `BadFiles.check` refuses a folder with too many of them; `folder_labels` and
`class_names` give the classes; `split` in `splits.py` divides the usable files into training and validation.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..util.errors import BadInput
from ..util.messages import listed
from ..util.paths import expanded
from ..util.progress import tracked

T = TypeVar("T")

_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}


def natural_key(name: str) -> tuple[Any, ...]:
    """Sort key for which "2" comes before "10", letter case is ignored, and different names have different keys."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(p) if i % 2 else p.casefold() for i, p in enumerate(parts)), name


def shown(path: Path, root: Path | None = None) -> str:
    """A path as text: relative to `root` if it is inside it, with "/" between the parts, in composed Unicode (NFC).

    The same file has the same text on every system (macOS decomposes accents). Bytes that are not valid Unicode become
    \\xNN.
    """
    if root is not None and path.is_relative_to(root):
        path = path.relative_to(root)
    text = os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def need_folder(root: Path | str | None, key: str = "data.root") -> Path:
    """`root` as a Path.

    Args:
        root: The folder.
        key: The recipe's key for it, for messages.

    Raises:
        BadInput: There is no such folder.
    """
    if root is None or str(root) == "":
        raise BadInput(f"needs {key}: the folder that holds the files")
    folder = expanded(root)
    if not folder.exists():
        raise BadInput(f"{key}: no such folder: {shown(folder)}")
    if not folder.is_dir():
        raise BadInput(f"{key}: {shown(folder)} is a file; name the folder that holds it")
    return folder


def find_files(root: Path, suffixes: Iterable[str] | None = None) -> list[Path]:
    """All files in `root` and its subfolders, in natural order of their paths.

    Hidden files and folders (`.x`, so also `._x` of macOS) and system folders (`__MACOSX`) are skipped. Links to
    folders are followed. Each real folder is visited once, by its own path before any link to it, so that circular
    links are harmless. A broken link is listed; opening it gives the error.

    Args:
        root: The folder.
        suffixes: Suffixes of the files to list, in any letter case; None: all files.

    Raises:
        BadInput: `root` is not a folder, or a folder cannot be read.
    """
    root = need_folder(root)
    wanted = None if suffixes is None else {s.casefold() for s in suffixes}
    paths = (Path(entry.path) for entry in _entries(root))
    found = [path for path in paths if wanted is None or path.suffix.casefold() in wanted]
    return sorted(found, key=lambda p: [natural_key(part) for part in p.relative_to(root).parts])


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    """The entries that are files; folders breadth first, linked folders last."""
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
                entries = sorted(listing, key=lambda e: natural_key(e.name))
        except OSError as error:
            raise BadInput(f"the folder {shown(Path(folder))} cannot be read: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in _SYSTEM_FOLDERS:
                continue
            if entry.is_dir():
                (linked if entry.is_symlink() else real).append(entry.path)
            elif entry.is_file() or entry.is_symlink():
                yield entry


def content_hash(path: Path) -> str:
    """blake2b of the file's bytes, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class BadFiles:
    """Collects the files that cannot be used: a few are skipped with a warning, too many are an error.

    Args:
        max_share: Largest share of unusable files, 0 to 1, that is skipped.

    Attributes:
        reasons: (file, reason) pairs.
    """

    def __init__(self, max_share: float = 0.05):
        if not 0 <= max_share <= 1:
            raise BadInput(f"data.max_bad is a share from 0 to 1; got {max_share}")
        self.max_share = max_share
        self.reasons: list[tuple[str, str]] = []

    def add(self, path: Path | str, reason: str) -> None:
        """Add an unusable file."""
        self.reasons.append((shown(path) if isinstance(path, Path) else path, reason))

    def summary(self, most: int = 3) -> str:
        """Each reason with its first few files in one line, most frequent reasons first."""
        by_reason: dict[str, list[str]] = {}
        for path, reason in self.reasons:
            by_reason.setdefault(reason, []).append(path)
        ordered = sorted(by_reason.items(), key=lambda pair: -len(pair[1]))
        parts = [f"{reason}: {_few(paths, most)}" for reason, paths in ordered[: 2 * most]]
        return "; ".join(parts) + (f"; and {len(ordered) - 2 * most} other reasons" if len(ordered) > 2 * most else "")

    def check(self, total: int) -> None:
        """Check the unusable files; warn if some are skipped.

        Args:
            total: Number of all files.

        Raises:
            BadInput: No file is usable, or too many are not.
        """
        bad = len(self.reasons)
        if bad >= total:
            raise BadInput(f"0 usable of {total} files" + (f": {self.summary()}" if bad else ""))
        if bad > self.max_share * total:
            raise BadInput(
                f"{bad} of {total} files are unusable, more than data.max_bad = {self.max_share:g} allows: "
                f"{self.summary()}. Repair or remove them, or raise data.max_bad."
            )
        if bad:
            warnings.warn(f"skipped {bad} of {total} files: {self.summary()}", stacklevel=2)


def _few(names: list[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def folder_labels(files: Sequence[Path], root: Path, bad: BadFiles) -> list[str | None]:
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
        labels.append(shown(Path(parts[0])) if len(parts) > 1 else None)
    if files and not any(labels):
        raise BadInput(
            f"label: folder needs one folder a class, but all {len(files)} files are directly in {shown(root)}. "
            "Without classes: data.label=none; with a table of labels: data.table=labels.csv"
        )
    for path, label in zip(files, labels, strict=True):
        if label is None:
            bad.add(shown(path, root), "is not in a class folder")
    return labels


def class_names(labels: Iterable[str], where: str) -> tuple[str, ...]:
    """The different labels in natural order.

    Args:
        labels: The labels of all examples.
        where: Their source, for the message.

    Raises:
        BadInput: There is only one label.
    """
    names = tuple(sorted(set(labels), key=natural_key))
    if len(names) == 1:
        raise BadInput(
            f"only one class, {names[0]!r}, in {where}. To train without classes: data.label=none "
            "(and no condition on the label); if the class folders are one level deeper, set data.root to that folder"
        )
    return names


def note_lost_classes(found: Iterable[str | None], usable: Iterable[str | None]) -> None:
    """Warn of classes that have files but no usable one.

    Args:
        found: Class of each file that was found.
        usable: Class of each usable file.
    """
    lost = sorted({label for label in found if label is not None} - set(usable), key=natural_key)
    if lost:
        warnings.warn(
            f"no file is usable of {len(lost)} of the classes, which cannot be trained: {listed(lost)}", stacklevel=3
        )


def progress(items: Iterable[T], about: str, total: int | None = None) -> Iterable[T]:
    """Iterate over `items` with a progress bar (rate, remaining time) if it takes longer than two seconds."""
    return tracked(items, about, "file", total)
