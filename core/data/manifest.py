"""The manifest of a prepared folder: JSONL with a header line, then one line per file.

`prepare` appends one file after the other and sorts the lines at the end, so that a killed run keeps its results. A
dataset reads the manifest instead of listing and decoding the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..util.errors import BadInput
from ..util.paths import expanded
from .files import TableRow, content_hash, shown

NAME = "manifest.jsonl"
FORMAT = 1
Line = dict[str, Any]


@dataclass(frozen=True)
class ManifestHeader:
    """The first line.

    Attributes:
        sonolux: "manifest".
        modality: Modality of the files.
        root: Folder that the files' names are relative to.
        format: Version of the file format.
        analysis: Version of the modality's measurements.
        complete: False while `prepare` runs, and after it was killed.
    """

    sonolux: str
    modality: str
    root: str
    format: int = FORMAT
    analysis: int = 1
    complete: bool = False


@dataclass(frozen=True)
class Manifest:
    """A manifest.

    Attributes:
        path: The manifest's file.
        header: Its first line.
        lines: One line per media file, in natural order.
    """

    path: Path
    header: ManifestHeader
    lines: list[Line]

    def usable(self) -> list[Line]:
        """The lines of files that can be used."""
        return [line for line in self.lines if line["status"] == "ok"]


def write(path: Path, header: ManifestHeader, lines: Iterable[Line]) -> None:
    """Write a whole manifest atomically: if it fails, the old one is not changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.writelines(text(row) for row in (asdict(header), *lines))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def text(line: Line) -> str:
    """One line of JSON."""
    return json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def started(path: Path) -> tuple[ManifestHeader, list[Line]] | None:
    """Header and lines of an earlier run, also of a killed one; incomplete lines are left out. None: no manifest."""
    rows: list[Any] = []
    with suppress(FileNotFoundError):
        for row in path.read_bytes().split(b"\n"):
            with suppress(ValueError):
                rows.append(json.loads(row))
    if not rows or _header(rows[0]) is None:
        return None
    header = _header(rows[0])
    assert header is not None
    return header, [row for row in rows[1:] if isinstance(row, dict) and "file" in row and "status" in row]


def _header(row: Any) -> ManifestHeader | None:
    if not isinstance(row, dict) or row.get("sonolux") != "manifest" or row.get("format") != FORMAT:
        return None
    try:
        return ManifestHeader(**row)
    except TypeError:
        return None


def read(path: Path) -> Manifest:
    """Read a complete manifest.

    Raises:
        BadInput: There is no manifest, or it is incomplete or damaged; the message names the remedy.
    """
    if not path.is_file():
        raise BadInput(f"data.manifest: no such file: {shown(path)}")
    found = started(path)
    if found is None:
        raise BadInput(f"{shown(path)}: no manifest: `sonolux prepare FOLDER` makes one; a list of files is data.table")
    header, lines = found
    if not header.complete:
        raise BadInput(
            f"{shown(path)}: not complete, `sonolux prepare` was stopped: `sonolux prepare {header.root} --out "
            f"{shown(path.parent)}` continues where it stopped"
        )
    if len(lines) != path.read_bytes().count(b"\n") - 1:
        raise BadInput(f"{shown(path)}: damaged: run `sonolux prepare {header.root} --out {shown(path.parent)}` again")
    return Manifest(path, header, lines)


def find(root: Path | str | None, manifest: Path | None, modality: str) -> tuple[Path | str | None, Manifest | None]:
    """Folder of the media and manifest, from a recipe's data.root and data.manifest.

    data.root may also be a manifest or a folder written by `prepare`; the media are then in the prepared folder.

    Args:
        root: data.root.
        manifest: data.manifest.
        modality: The recipe's modality.

    Returns:
        (folder, manifest); the manifest is None for a folder that was not prepared.

    Raises:
        BadInput: The manifest has another modality, or its folder does not exist.
    """
    given = expanded(root) if root is not None and str(root) else None
    from_root = manifest is None and given is not None
    if from_root and given is not None:
        if given.is_file() and given.suffix == ".jsonl":
            manifest = given
        elif (given / NAME).is_file():
            manifest = given / NAME
    if manifest is None:
        return root, None
    found = read(expanded(manifest))
    if found.header.modality != modality:
        raise BadInput(f"{shown(found.path)} lists files of modality {found.header.modality}, not {modality}")
    folder = Path(found.header.root) if from_root or given is None else given
    if not folder.is_dir():
        raise BadInput(
            f"{shown(folder)}, the folder that {shown(found.path)} lists, does not exist: give its new place, "
            f"data.root=path/to/folder data.manifest={shown(found.path)}"
        )
    return folder, found


def name_of(path: Path, root: Path) -> Line:
    """`file`: the name in Unicode; and `raw`: its bytes in hexadecimal, if they cannot be recovered from the name."""
    name = shown(path, root)
    relative = path.relative_to(root) if path.is_relative_to(root) else path
    raw = os.fsencode(relative.as_posix())
    return {"file": name} if raw == name.encode() else {"file": name, "raw": raw.hex()}


def path_of(line: Line, root: Path) -> Path:
    """Path of a line's file in `root`."""
    if "raw" in line:
        exact = root / os.fsdecode(bytes.fromhex(line["raw"]))
        if exact.exists():
            return exact
    return TableRow(line["file"]).path(root)


def changed(line: Line, path: Path) -> str | None:
    """Why a line no longer describes its file; None if it does. A new date with the same content is no change."""
    try:
        facts = path.stat()
        if facts.st_size == line["size"] and facts.st_mtime_ns == line["mtime_ns"]:
            return None
        if facts.st_size == line["size"] and content_hash(path) == line["hash"]:
            return None
    except OSError as error:
        return error.strerror or str(error)
    return "has changed since it was prepared"


def split_keys(lines: Sequence[Line]) -> list[str]:
    """The key of each line for the split: its hash, or the hash of its group of copies."""
    return [line.get("group") or line["hash"] for line in lines]
