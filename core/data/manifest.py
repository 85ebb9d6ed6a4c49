"""The manifest of a prepared folder: JSONL with a header line, then one line per file.

`prepare` appends one file after the other and sorts the lines at the end, so that a killed run keeps its results. A
complete manifest stays until the new one is complete. A dataset reads the manifest instead of listing and decoding the
folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator
from pydantic_core import from_json

from ..util.atomic_replace import replace_whole_file
from ..util.errors import BadInput
from ..util.json_files import StoredRecord
from ..util.messages import format_argument, format_command
from ..util.paths import expand_home, is_url, url_of
from .files import content_hash, format_path, require_folder
from .shards import MOST_SHARDS, check_shards, holds_shards
from .tables import locate_file

NAME = "manifest.jsonl"
PARTIAL = "manifest.partial.jsonl"  # next to a complete manifest, while `prepare` measures again
FORMAT = 1
ManifestLine = dict[str, Any]
_LARGEST = 2**63 - 1
_LONGEST_ROOT = 1000  # characters of a folder that a message repeats; the file may be damaged

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Number = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)] | FiniteFloat
Scalar = bool | Number | str | None


class _StoredLine(StoredRecord):
    """The entries of every line, and those that some have. Measurements of the modality are others."""

    file: Annotated[str, Field(min_length=1)]
    status: Literal["ok", "skipped"]
    reason: str | None
    label: str | None
    caption: str | Annotated[list[str], Field(min_length=2)] | None
    size: Annotated[int, Field(ge=0, le=_LARGEST)] | None
    mtime_ns: Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)] | None
    hash: Hash | None
    raw: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")] = ""
    more: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)
    copy_of: str = ""
    group: Hash = ""

    @model_validator(mode="after")
    def _agree(self) -> _StoredLine:
        known = None not in (self.size, self.mtime_ns, self.hash)
        if not (known and self.reason is None if self.status == "ok" else self.reason):
            raise ValueError("the entries do not agree with the status")
        return self


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
        shards: Size of each shard in bytes, see `shards.py`; (): the files are in the folder.
    """

    sonolux: str
    modality: str
    root: str
    format: int = FORMAT
    analysis: int = 1
    complete: bool = False
    shards: Sequence[int] = ()


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
    lines: list[ManifestLine]

    def usable(self) -> list[ManifestLine]:
        """The lines of files that can be used."""
        return [line for line in self.lines if line["status"] == "ok"]


def write_manifest(path: Path, header: ManifestHeader, lines: Iterable[ManifestLine]) -> None:
    """Write a whole manifest atomically: if it fails, the old one is not changed."""
    first = {name: value for name, value in asdict(header).items() if name != "shards" or value}
    with replace_whole_file(path) as part, open(part, "w", encoding="utf-8") as file:
        file.writelines(format_manifest_line(row) for row in (first, *lines))


def format_manifest_line(line: ManifestLine) -> str:
    """One line of JSON."""
    return json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def read_unfinished_manifest(path: Path) -> tuple[ManifestHeader, list[ManifestLine]] | None:
    """Header and lines of an earlier run, also of a killed one; damaged lines are left out. None: no manifest.

    Raises:
        BadInput: The file cannot be read.
    """
    rows: list[Any] = []
    try:
        for row in path.read_bytes().split(b"\n"):
            with suppress(ValueError):
                rows.append(from_json(row, allow_inf_nan=False))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{format_path(path)}: cannot be read: {error.strerror}") from None
    header = _header(rows[0]) if rows else None
    return None if header is None else (header, [row for row in rows[1:] if _is_line(row)])


def is_damaged_manifest(path: Path) -> bool:
    """Whether a file without a readable header was a manifest: it is empty, or begins like one."""
    first = path.read_bytes().split(b"\n")[0]
    with suppress(ValueError):
        row = from_json(first)
        return isinstance(row, dict) and (row.get("sonolux"), row.get("format")) == ("manifest", FORMAT)
    return not first.strip()


def is_complete_manifest(path: Path) -> bool:
    """Whether the file is a manifest that `prepare` has completed."""
    found = read_unfinished_manifest(path)
    return found is not None and found[0].complete


def _header(row: Any) -> ManifestHeader | None:
    if not isinstance(row, dict) or row.get("sonolux") != "manifest" or row.get("format") != FORMAT:
        return None
    try:
        header = ManifestHeader(**row)
    except TypeError:
        return None
    texts, flags = (header.modality, header.root), (header.analysis, header.complete)
    sizes = isinstance(header.shards, list | tuple) and len(header.shards) <= MOST_SHARDS
    sound = all(type(text) is str for text in texts) and [type(flag) for flag in flags] == [int, bool]
    sound = sound and sizes and all(type(size) is int and 0 < size <= _LARGEST for size in header.shards)
    return header if sound else None


def _is_line(row: Any) -> bool:
    """Whether a row has the entries of every line, with types and values that `prepare` writes."""
    try:
        _StoredLine.model_validate(row)
    except ValidationError:
        return False
    return True


def has_facts(line: ManifestLine, facts: type[BaseModel]) -> bool:
    """Whether a line has all measurements of its modality, within their limits."""
    try:
        facts.model_validate(line)
    except ValidationError:
        return False
    return True


def contradicting_hashes(lines: Iterable[ManifestLine]) -> set[str]:
    """Hashes that stand for files of several sizes, which cannot be."""
    sizes: dict[str, int] = {}
    return {
        line["hash"] for line in lines if line["hash"] and sizes.setdefault(line["hash"], line["size"]) != line["size"]
    }


def read_manifest(path: Path, facts: type[BaseModel] | None = None) -> Manifest:
    """Read a complete manifest.

    Args:
        path: The manifest's file.
        facts: Measurements that the lines of usable files must have, with their limits; None: none.

    Raises:
        BadInput: There is no manifest, or it is incomplete or damaged; the message names the remedy.
    """
    if not path.is_file():
        raise BadInput(f"data.manifest: no such file: {format_path(path)}")
    found = read_unfinished_manifest(path)
    if found is None:
        raise BadInput(
            f"{format_path(path)}: no manifest: `sonolux prepare FOLDER` makes one; a list of files is data.table"
        )
    header, lines = found
    again = _again(header, path.parent)
    if not header.complete:
        raise BadInput(
            f"{format_path(path)}: not complete, `sonolux prepare` was stopped: `{again}` continues where it stopped"
        )
    whole = facts is None or all(has_facts(line, facts) for line in lines if line["status"] == "ok")
    if not whole or contradicting_hashes(lines) or len(lines) != path.read_bytes().count(b"\n") - 1:
        raise BadInput(f"{format_path(path)}: damaged: run `{again}` again")
    return Manifest(path, header, lines)


def _again(header: ManifestHeader, out: Path) -> str:
    """The command that writes a manifest, and its shards, again."""
    root = header.root if len(header.root) <= _LONGEST_ROOT else "FOLDER"
    shards = ["--shards", len(header.shards)] if header.shards else []
    return format_command("sonolux", "prepare", root, "--out", format_path(out), *shards)


def find_manifest(
    root: Path | str | None, manifest: Path | None, modality: str, facts: type[BaseModel] | None = None
) -> tuple[Path | str | None, Manifest | None]:
    """Folder of the media and manifest, from a recipe's data.root and data.manifest.

    data.root may also be a manifest or a folder written by `prepare`; the media are then in the prepared folder.

    Args:
        root: data.root.
        manifest: data.manifest.
        modality: The recipe's modality.
        facts: See `read_manifest`.

    Returns:
        (folder, manifest); the manifest is None for a folder that was not prepared.

    Raises:
        BadInput: The manifest has another modality, or its folder does not exist.
    """
    given = expand_home(root) if root is not None and str(root) else None
    from_root = manifest is None and given is not None
    if from_root and given is not None:
        if given.is_file() and given.suffix == ".jsonl":
            manifest = given
        elif (given / NAME).is_file():
            manifest = given / NAME
    if manifest is None:
        return root, None
    found = read_manifest(expand_home(manifest), facts)
    if found.header.modality != modality:
        raise BadInput(f"{format_path(found.path)} lists files of modality {found.header.modality}, not {modality}")
    sizes = found.header.shards
    if from_root or given is None:
        folder = found.path.parent if sizes else Path(found.header.root)
    else:
        folder = given
    if holds_shards(folder, sizes) or (sizes and folder == found.path.parent):
        check_shards(folder, sizes, f"copy it again, or `{_again(found.header, found.path.parent)}` writes all anew")
    elif not folder.is_dir():
        raise BadInput(
            f"{format_path(folder)}, the folder that {format_path(found.path)} lists, does not exist: give its new "
            f"place, data.root=path/to/folder {format_argument('data.manifest', format_path(found.path))}"
        )
    return folder, found


def require_media_folder(root: Path | str | None, manifest: Manifest | None) -> Path:
    """The folder of the files, or of the shards of a manifest, which may be a URL; both results of `find_manifest`.

    Raises:
        BadInput: There is no such folder.
    """
    if manifest is not None and root is not None and holds_shards(expand_home(root), manifest.header.shards):
        return expand_home(root)
    if root is not None and is_url(root):
        raise BadInput(
            f"data.root: {url_of(Path(root))} is not a folder of this machine; of other places shards are read: "
            "`sonolux prepare FOLDER --shards N` writes them, and data.manifest names their list"
        )
    return require_folder(root)


def file_name_fields(path: Path, root: Path) -> ManifestLine:
    """`file`: the name in Unicode; and `raw`: its bytes in hexadecimal, if they cannot be recovered from the name."""
    name = format_path(path, root)
    relative = path.relative_to(root) if path.is_relative_to(root) else path
    raw = os.fsencode(relative.as_posix())
    return {"file": name} if raw == name.encode() else {"file": name, "raw": raw.hex()}


def media_path(line: ManifestLine, root: Path) -> Path:
    """Path of a line's file in `root`."""
    if "raw" in line:
        exact = root / os.fsdecode(bytes.fromhex(line["raw"]))
        if exact.exists():
            return exact
    return locate_file(line["file"], root)


def stale_reason(line: ManifestLine, path: Path) -> str | None:
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


def keys_for_split(lines: Sequence[ManifestLine]) -> list[str]:
    """The key of each line for the split: its hash, or the hash of its group of copies."""
    return [line.get("group") or line["hash"] for line in lines]
