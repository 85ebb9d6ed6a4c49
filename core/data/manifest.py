"""A prepared folder's manifest: JSONL, one line a file, after a first line that says what it lists.

`prepare` appends to it file by file and puts it in order at the end, so that a killed run leaves what it has done. A
dataset reads it instead of walking and decoding the folder.
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
from .files import Row, content_hash, shown

NAME = "manifest.jsonl"
FORMAT = 1
Line = dict[str, Any]


@dataclass(frozen=True)
class Header:
    """The first line.

    Attributes:
        sonolux: "manifest".
        modality: Whose files are listed.
        root: The folder that their names start from.
        format: Of the file.
        analysis: Version of what the modality measures.
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
    """path: the file.  header: its first line.  lines: one a media file, in natural order."""

    path: Path
    header: Header
    lines: list[Line]

    def usable(self) -> list[Line]:
        """The lines of files that can be used."""
        return [line for line in self.lines if line["status"] == "ok"]


def write(path: Path, header: Header, lines: Iterable[Line]) -> None:
    """Write a whole manifest, or leave the old one untouched."""
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


def started(path: Path) -> tuple[Header, list[Line]] | None:
    """What an earlier run left, finished or killed: a torn line is left out; None where no manifest is there."""
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


def _header(row: Any) -> Header | None:
    if not isinstance(row, dict) or row.get("sonolux") != "manifest" or row.get("format") != FORMAT:
        return None
    try:
        return Header(**row)
    except TypeError:
        return None


def read(path: Path) -> Manifest:
    """A finished manifest.

    Raises:
        BadInput: With the file and the remedy.
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
            f"{shown(path.parent)}` goes on where it stopped"
        )
    if len(lines) != path.read_bytes().count(b"\n") - 1:
        raise BadInput(f"{shown(path)}: damaged: run `sonolux prepare {header.root} --out {shown(path.parent)}` again")
    return Manifest(path, header, lines)


def find(root: Path | str | None, manifest: Path | None, modality: str) -> tuple[Path | str | None, Manifest | None]:
    """(folder of the media, manifest) of a recipe's data.root and data.manifest; no manifest: a plain folder.

    data.root may itself be a manifest, or the folder that `prepare` made: the media are then where they were prepared.

    Raises:
        BadInput: If the manifest is of another modality or its folder is gone.
    """
    given = Path(root).expanduser() if root is not None and str(root) else None
    own = manifest is None and given is not None
    if own and given is not None:
        if given.is_file() and given.suffix == ".jsonl":
            manifest = given
        elif (given / NAME).is_file():
            manifest = given / NAME
    if manifest is None:
        return root, None
    found = read(Path(manifest).expanduser())
    if found.header.modality != modality:
        raise BadInput(f"{shown(found.path)} lists files of modality {found.header.modality}, not {modality}")
    folder = Path(found.header.root) if own or given is None else given
    if not folder.is_dir():
        raise BadInput(
            f"{shown(folder)}, the folder that {shown(found.path)} lists, is not there: say where it is now, "
            f"data.root=path/to/folder data.manifest={shown(found.path)}"
        )
    return folder, found


def name_of(path: Path, root: Path) -> Line:
    """`file`, the name in Unicode, and `raw`, its bytes in hexadecimal where the name does not give them back."""
    name = shown(path, root)
    relative = path.relative_to(root) if path.is_relative_to(root) else path
    raw = os.fsencode(relative.as_posix())
    return {"file": name} if raw == name.encode() else {"file": name, "raw": raw.hex()}


def path_of(line: Line, root: Path) -> Path:
    """Where a line's file lies below `root`."""
    if "raw" in line:
        exact = root / os.fsdecode(bytes.fromhex(line["raw"]))
        if exact.exists():
            return exact
    return Row(line["file"]).path(root)


def changed(line: Line, path: Path) -> str | None:
    """Why a line no longer speaks of its file, or None. Another date with the same content is no change."""
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
    """What each line's side of the split follows from: its hash, or that of the group of copies it belongs to."""
    return [line.get("group") or line["hash"] for line in lines]
