"""The files of a folder dataset, with labels and captions: from a manifest, a table, or the folder itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..types import BadInput
from .captions import Caption, CaptionSource, choose_caption
from .files import UnusableFiles, find_files, format_path, labels_from_folders
from .manifest import Manifest, ManifestLine, keys_for_split, media_path, stale_reason
from .shards import holds_shards, member_path
from .tables import note_folder_labels, rows_with_paths


@dataclass(frozen=True)
class CandidateFile:
    """A file that may become an example.

    Attributes:
        path: The file.
        name: The path as text, relative to the folder.
        label: Its label in the manifest or table; None: not given.
        caption: Its caption, or several; None: not given.
        more: Other columns of the table.
        facts: The manifest's line; empty without a manifest.
        key: Key that determines its part of the split; None: the hash of its content.
    """

    path: Path
    name: str
    label: str | None = None
    caption: Caption = None
    more: Mapping[str, Any] = field(default_factory=dict)
    facts: ManifestLine = field(default_factory=dict)
    key: str | None = None


def find_candidate_files(
    root: Path,
    table: Path | None,
    manifest: Manifest | None,
    suffixes: Collection[str],
    none: str,
    bad: UnusableFiles,
    foreign: Collection[str] = (),
    captions: CaptionSource = "table",
) -> list[CandidateFile]:
    """The files of a folder dataset.

    Args:
        root: The folder.
        table: A table of the files to use; None: all files with one of `suffixes`.
        manifest: Manifest written by `sonolux prepare`, whose usable files are used.
        suffixes: Suffixes of the files that the modality can read.
        none: Beginning of the message for a folder without such files.
        bad: Files that have changed since they were prepared, and folders that cannot be read, are added to it.
        foreign: Suffixes of formats that the modality does not read; such files are listed, so that the reader gives
            the reason.
        captions: Where the captions of the files are from.

    Raises:
        BadInput: There are no files, or both table and manifest are given; or captions cannot be read.
    """
    found = _candidates(root, table, manifest, suffixes, none, bad, foreign)
    return [replace(file, caption=choose_caption(captions, file.path, file.caption)) for file in found]


def _candidates(
    root: Path,
    table: Path | None,
    manifest: Manifest | None,
    suffixes: Collection[str],
    none: str,
    bad: UnusableFiles,
    foreign: Collection[str],
) -> list[CandidateFile]:
    if manifest is not None:
        return _prepared(manifest, root, table, bad)
    if table is not None:
        rows = rows_with_paths(table, root)
        return [CandidateFile(path, format_path(path, root), row.label, row.caption, row.more) for row, path in rows]
    folders: list[tuple[Path, str]] = []
    paths = find_files(root, {*suffixes, *foreign}, folders)
    for folder, reason in folders:
        bad.add(format_path(folder, root), reason, foreign=True)
    if not paths:
        others = Counter(path.suffix.lower() or "no suffix" for path in find_files(root)).most_common(3)
        instead = ", ".join(f"{n} files with {suffix}" for suffix, n in others) or "no files at all"
        raise BadInput(f"{none}; {format_path(root)} contains {instead}")
    return [CandidateFile(path, format_path(path, root)) for path in paths]


def _prepared(manifest: Manifest, root: Path, table: Path | None, bad: UnusableFiles) -> list[CandidateFile]:
    """The usable files of a manifest; files that have changed are added to `bad` instead."""
    if table is not None:
        raise BadInput("data.table and a manifest: give one; `sonolux prepare FOLDER --table` adds the table to it")
    lines = manifest.usable()
    if not lines:
        raise BadInput(f"0 usable of {len(manifest.lines)} files, according to {format_path(manifest.path)}")
    found, sizes = [], manifest.header.shards
    sharded = holds_shards(root, sizes)
    for line, key in zip(lines, keys_for_split(lines), strict=True):
        if sharded:
            member = member_path(root, line, sizes)
            path, reason = member or root, None if member else "is not in a shard, according to the manifest"
        else:
            path = media_path(line, root)
            reason = stale_reason(line, path)
        if reason is not None:
            bad.add(line["file"], reason)
            continue
        found.append(CandidateFile(path, line["file"], line["label"], line["caption"], line.get("more", {}), line, key))
    return found


def assign_labels(
    files: Sequence[CandidateFile], label: str, root: Path, bad: UnusableFiles, table: Path | None = None
) -> list[CandidateFile]:
    """The files with their classes; files without a class are left out.

    Args:
        files: Result of `find_candidate_files`.
        label: `folder`: the class is the label of the table or manifest, or else the name of the file's folder in
            `root`, at the first level; `none`: no classes.
        root: The folder.
        bad: Files without a class are added to it.
        table: The table that lists the files; if it has no labels, there is a note.

    Raises:
        BadInput: No file has a class.
    """
    if label == "none":
        return [replace(file, label=None) for file in files]
    if any(file.label is not None for file in files):
        for file in files:
            if file.label is None:
                bad.add(file.name, "is not in a class folder")
        return [file for file in files if file.label is not None]
    if any(file.facts for file in files):
        raise BadInput("label: folder needs classes, and the manifest has none. Without classes: data.label=none")
    outside = [file.name for file in files if not file.path.is_relative_to(root)]
    if outside:
        raise BadInput(f"{outside[0]} is not inside {format_path(root)} and the table has no labels: it has no class")
    labels = labels_from_folders([file.path for file in files], root, bad)
    if table is not None:
        note_folder_labels(table)
    return [replace(file, label=name) for file, name in zip(files, labels, strict=True) if name is not None]
