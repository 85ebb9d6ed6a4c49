"""Folders of media files of any modality: finding files, classes, tables of labels, splits, and unusable files.

A dataset of files: `find_files` (or `read_table`) lists the candidates; the modality decodes each one and adds those
that it cannot decode to `BadFiles`; `BadFiles.check` refuses a folder with too many of them; `folder_labels` and
`class_names` give the classes; `split` divides the usable files into training and validation.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import os
import re
import stat
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..util.errors import BadInput
from ..util.integers import as_seed
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
    folder = Path(root).expanduser()
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except (OSError, ValueError) as error:
        reason = _why(folder, error)
        raise BadInput(f"{key}: {'no such folder' if reason == _ABSENT else reason}: {shown(folder)}") from error
    if not is_folder:
        raise BadInput(f"{key}: {shown(folder)} is a file; name the folder that holds it")
    return need_unicode(folder, key)


def need_unicode(path: Path, key: str) -> Path:
    """The path; BadInput for a name that recipes and manifests, which are Unicode text, cannot hold."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(f"{key}: the name {shown(path)} is not valid Unicode: rename the folder") from error
    return path


_ABSENT = "no such file"
_KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a named pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
}


def why_unusable(path: Path) -> str | None:
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
    counts it with the reason (`why_unusable`). Folders that cannot be read are skipped.

    Args:
        root: The folder.
        suffixes: Suffixes of the files to list, in any letter case; None: all files.
        skipped: The skipped folders are added to it, each with the reason.

    Raises:
        BadInput: `root` is not a folder, or cannot be read.
    """
    root = need_folder(root)
    wanted = None if suffixes is None else {s.casefold() for s in suffixes}
    paths = (Path(entry.path) for entry in _entries(root, [] if skipped is None else skipped))
    found = [path for path in paths if wanted is None or path.suffix.casefold() in wanted]
    return sorted(found, key=lambda p: [natural_key(part) for part in p.relative_to(root).parts])


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
                entries = sorted(listing, key=lambda e: natural_key(e.name))
        except OSError as error:
            reason = _why(Path(folder), error)
            if folder == str(root):
                raise BadInput(f"the folder {shown(root)} cannot be read: {reason}") from error
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


def _position(key: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{as_seed(seed)}/{key}".encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def split_of(key: str, valid: float, seed: int) -> str:
    """ "valid" for a share `valid` of all keys, else "train"; it depends on the key's hash only, not on other keys.

    Adding or removing files does not move other files, and a larger share contains the files of a smaller one. If the
    key is the hash of the content, copies with other names are in the same part, and moving the folder has no effect.

    Args:
        key: The example's key, such as the hash of its content.
        valid: Share for validation, from 0 up to, not including, 1.
        seed: Seed of the split.
    """
    if not 0 <= valid < 1:
        raise BadInput(f"data.split.valid is a share from 0 up to, not including, 1; got {valid}")
    return "valid" if _position(key, seed) < valid else "train"


def split(keys: Sequence[str], valid: float, seed: int) -> list[str]:
    """`split_of` for each key; an empty part gets the nearest key, so that tiny folders have both parts."""
    parts = [split_of(key, valid, seed) for key in keys]
    different = sorted(set(keys), key=lambda k: _position(k, seed))
    if valid == 0 or len(different) < 2:
        return ["train"] * len(keys)
    if "valid" not in parts:
        parts = ["valid" if key == different[0] else "train" for key in keys]
    if "train" not in parts:
        parts = ["train" if key == different[-1] else "valid" for key in keys]
    return parts


class BadFiles:
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
        found.append((shown(path) if isinstance(path, Path) else path, reason))

    def extend(self, other: BadFiles) -> None:
        """Add what another record holds."""
        self.reasons += other.reasons
        self.others += other.others

    def summary(self, most: int = 3) -> str:
        """Each reason with its first few files in one line, most frequent reasons first."""
        by_reason: dict[str, list[str]] = {}
        for path, reason in (*self.reasons, *self.others):
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
        bad, others = len(self.reasons), len(self.others)
        if bad + others >= total:
            raise BadInput(f"0 usable of {total} files" + (f": {self.summary()}" if bad + others else ""))
        if bad > self.max_share * total:
            raise BadInput(
                f"{bad} of {total} files are unusable, more than data.max_bad = {self.max_share:g} allows: "
                f"{self.summary()}. Repair or remove them, or raise data.max_bad."
            )
        if bad + others:
            warnings.warn(f"skipped {bad + others} of {total} files: {self.summary()}", stacklevel=2)


class Remarks:
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
            warnings.warn(
                f"{len(about)} of {total} {self.noun}: {'; '.join(about[:3])}{more}", stacklevel=stacklevel + 1
            )


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


@dataclass(frozen=True)
class TableRow:
    """One line of a table.

    Attributes:
        file: The file as written in the table.
        label: Its label; None: not given.
        caption: Its caption; None: not given.
        more: The other columns.
        line: Number of the line.
    """

    file: str
    label: str | None = None
    caption: str | None = None
    more: dict[str, Any] = field(default_factory=dict)
    line: int = 0

    def path(self, root: Path) -> Path:
        """Path of the file; relative names start from `root`. Accents may be in composed or decomposed Unicode."""
        name = self.file.replace("\\", "/")
        forms = [name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
        paths = [Path(os.path.normpath(root / Path(form).expanduser())) for form in forms]
        return next((path for path in paths if path.exists()), paths[0])


def read_table(path: Path) -> list[TableRow]:
    """Read a table: CSV or TSV with a header line, or JSONL.

    The column `file` is required; `label` and `caption` are optional. Other columns go to `more`, as numbers if
    they are finite numbers.

    Raises:
        BadInput: No such file, text that is not UTF-8, no column `file`, invalid lines, a file named twice, or labels
            on some lines only. The message names file and line.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise BadInput(f"data.table: no such file: {shown(path)}")
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    if path.suffix.casefold() not in readers:
        raise BadInput(f"data.table: {shown(path)} is not a .csv, .tsv or .jsonl file")
    try:
        rows = [_row(fields, line, path) for line, fields in readers[path.suffix.casefold()](path)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{shown(path)}: not a table in UTF-8 text: {error}") from error
    if not rows:
        raise BadInput(f"{shown(path)}: contains no rows")
    first: dict[str, int] = {}
    for row in rows:
        if first.setdefault(row.file, row.line) != row.line:
            raise BadInput(f"{shown(path)}:{row.line}: names {row.file!r} again; see line {first[row.file]}")
    without = [row.line for row in rows if row.label is None]
    if without and len(without) < len(rows):
        raise BadInput(f"{shown(path)}:{without[0]}: no label, though other lines have one")
    return rows


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.casefold() == ".tsv" else ",", strict=True)
        if "file" not in (reader.fieldnames or ()):
            raise BadInput(f"{shown(path)}:1: the header has no column 'file': {', '.join(reader.fieldnames or ())}")
        for fields in reader:
            if None in fields:
                raise BadInput(f"{shown(path)}:{reader.line_num}: more fields than the header; quote texts with commas")
            yield (
                reader.line_num,
                {k: _number(v) if k not in ("file", "label", "caption") else v for k, v in fields.items()},
            )


def _number(text: str | None) -> Any:
    try:
        value = float(text or "")
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                fields = json.loads(text)
            except json.JSONDecodeError as error:
                raise BadInput(f"{shown(path)}:{line}: not JSON: {error}") from error
            if not isinstance(fields, dict) or "file" not in fields:
                raise BadInput(f"{shown(path)}:{line}: not an object with a key 'file'")
            yield line, fields


def _row(fields: dict[str, Any], line: int, table: Path) -> TableRow:
    def text(name: str) -> str | None:
        value = fields.get(name)
        if value is not None and not isinstance(value, (str, int, float)):
            raise BadInput(f"{shown(table)}:{line}: {name} is not a text: {value!r}")
        return None if value is None or value == "" else unicodedata.normalize("NFC", str(value).strip())

    name = fields.get("file")
    if not isinstance(name, str) or not name.strip():
        raise BadInput(f"{shown(table)}:{line}: names no file")
    more = {k: v for k, v in fields.items() if k not in ("file", "label", "caption")}
    return TableRow(name.strip(), text("label"), text("caption"), more, line)


def progress(items: Iterable[T], about: str, total: int | None = None) -> Iterable[T]:
    """Iterate over `items` with a progress bar (rate, remaining time) if it takes longer than two seconds."""
    return tracked(items, about, "file", total)
