"""How the data of a run differs from the data at its start, by the manifest in its folder (data.jsonl)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..data.splits import recorded_training_hashes
from ..types import BadInput, Dataset
from ..util.json_files import parse_json, read_stored_bytes
from ..util.messages import format_first, shorten
from .checkpoint import run_folder

NAMES = ("source", "file")  # entries of a manifest's record that name the example
_ROW = TypeAdapter(dict[str, Any])


def manifest_text(data: Dataset) -> str:
    """The manifest of a dataset as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in data.manifest())


def hashes_trained_on(checkpoint: Path) -> frozenset[str]:
    """Hashes of the examples that the run of a checkpoint was trained on; empty if the checkpoint is in no run folder.

    Raises:
        BadInput: The list in the run folder is damaged.
    """
    folder = run_folder(checkpoint)
    return frozenset() if folder is None else recorded_training_hashes(folder / "data.jsonl")


def manifest_hash(text: str) -> str:
    """The hash of a manifest, which env.json stores."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_examples(*parts: Dataset) -> str:
    """A hash of the examples of datasets, in their order.

    Names of files do not count where the manifest holds a hash of their content, as in `describe_data_changes`.
    """
    contents = [[content for _, content in _records(manifest_text(one).encode(), "the data")] for one in parts]
    return manifest_hash(json.dumps(contents))


def describe_data_changes(saved: Path, digest_at_start: str | None, data: Dataset) -> str | None:
    """What has changed since the start of the run; None: the same examples in the same order.

    Names of files are not compared where the manifest holds a hash of their content: a folder may be moved.

    Args:
        saved: data.jsonl of the run.
        digest_at_start: Hash of the manifest; None: unknown.
        data: The data now.
    """
    text = manifest_text(data)
    if manifest_hash(text) == digest_at_start:
        return None
    try:
        before = _records(read_stored_bytes(saved), str(saved))
    except BadInput as error:
        return f"{error}, so it is unknown whether the data has changed"
    now = _records(text.encode(), "the data")
    if [content for _, content in before] == [content for _, content in now]:
        return None
    old, new = dict(before), dict(now)
    parts = (
        ("removed", [name for name in old if name not in new]),
        ("added", [name for name in new if name not in old]),
        ("changed", [name for name in new if name in old and new[name] != old[name]]),
    )
    counts = ", ".join(f"{len(names)} {verb} ({_first(names)})" for verb, names in parts if names)
    return f"the data has changed since this run was started: {counts or 'another order'}"


def _records(text: bytes, place: str) -> list[tuple[str, str]]:
    """(name, content) of each example; the content is the whole record if it has no hash."""
    found = []
    for number, line in enumerate(text.removesuffix(b"\n").split(b"\n"), 1):
        row = parse_json(line, _ROW, f"{place}:{number}")
        name = next((str(row[key]) for key in NAMES if key in row), line.decode())
        content = {k: v for k, v in row.items() if k not in NAMES} if row.get("hash") else row
        found.append((name, json.dumps(content, sort_keys=True)))
    return found


def _first(names: list[str]) -> str:
    return format_first([shorten(name) for name in names], 2)
