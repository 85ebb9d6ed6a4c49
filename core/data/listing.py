"""Which files a folder dataset uses, and what is known of each: from a manifest, a table, or the folder itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..types import BadInput
from .files import BadFiles, folder_labels, read_table, shown, walk
from .manifest import Line, Manifest, changed, path_of, split_keys


@dataclass(frozen=True)
class Listed:
    """One file that may become an example.

    Attributes:
        path: where it lies.
        name: the same as text, relative to the folder.
        label, caption: what the manifest or table says; None: nothing.
        more: other columns of the table.
        facts: the manifest's line; empty where there is none.
        key: what its part of the split follows from, where that is not the hash of its content.
    """

    path: Path
    name: str
    label: str | None = None
    caption: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    facts: Line = field(default_factory=dict)
    key: str | None = None


def listed_files(
    root: Path, table: Path | None, manifest: Manifest | None, suffixes: Collection[str], none: str, bad: BadFiles
) -> list[Listed]:
    """The files of a folder dataset.

    Args:
        root: the folder.
        table: a table that says which files are used; None: all whose suffix is in `suffixes`.
        manifest: what `sonolux prepare` wrote; its usable files are used.
        suffixes: of the files that the modality reads.
        none: begins the message of a folder without such files.
        bad: is told of files that have changed since they were prepared.

    Raises:
        BadInput: there are none, or both table and manifest are given.
    """
    if manifest is not None:
        return _prepared(manifest, root, table, bad)
    if table is not None:
        rows = [(row, row.path(root)) for row in read_table(table)]
        return [Listed(path, shown(path, root), row.label, row.caption, row.more) for row, path in rows]
    paths = walk(root, suffixes)
    if not paths:
        others = Counter(path.suffix.lower() or "no suffix" for path in walk(root)).most_common(3)
        instead = ", ".join(f"{n} files with {suffix}" for suffix, n in others) or "no files at all"
        raise BadInput(f"{none}; {shown(root)} holds {instead}")
    return [Listed(path, shown(path, root)) for path in paths]


def _prepared(manifest: Manifest, root: Path, table: Path | None, bad: BadFiles) -> list[Listed]:
    """The usable files of a manifest that are what they were; `bad` is told of the others."""
    if table is not None:
        raise BadInput("data.table and a manifest: give one; `sonolux prepare FOLDER --table` puts the table into it")
    lines = manifest.usable()
    if not lines:
        raise BadInput(f"0 usable of {len(manifest.lines)} files, says {shown(manifest.path)}")
    found = []
    for line, key in zip(lines, split_keys(lines), strict=True):
        path = path_of(line, root)
        reason = changed(line, path)
        if reason is not None:
            bad.add(line["file"], reason)
            continue
        found.append(Listed(path, line["file"], line["label"], line["caption"], line.get("more", {}), line, key))
    return found


def labelled(files: Sequence[Listed], label: str, root: Path, bad: BadFiles) -> list[Listed]:
    """The files with their classes; `bad` is told of those that have none, and they are left out.

    Args:
        files: what `listed_files` found.
        label: `folder`: the class is the label of the table or manifest, else the first folder below root; `none`.
        root: the folder.
        bad: is told of files without a class.

    Raises:
        BadInput: no file has a class.
    """
    if label == "none":
        return [replace(file, label=None) for file in files]
    if any(file.label is not None for file in files):
        for file in files:
            if file.label is None:
                bad.add(file.name, "lies in no class folder")
        return [file for file in files if file.label is not None]
    if any(file.facts for file in files):
        raise BadInput("label: folder needs classes, and the manifest tells of none. Without classes: data.label=none")
    outside = [file.name for file in files if not file.path.is_relative_to(root)]
    if outside:
        raise BadInput(f"{outside[0]} does not lie below {shown(root)} and the table has no labels: it has no class")
    labels = folder_labels([file.path for file in files], root, bad)
    return [replace(file, label=own) for file, own in zip(files, labels, strict=True) if own is not None]
