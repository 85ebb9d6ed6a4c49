"""Tables that say which files are used, what they are and how they are called: CSV, TSV and JSONL."""

from __future__ import annotations

import csv
import json
import math
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .files import shown
from .types import BadInput


@dataclass(frozen=True)
class Row:
    """One line of a table: the file as written there, its label and caption (None: not told), and the other columns."""

    file: str
    label: str | None = None
    caption: str | None = None
    more: dict[str, Any] = field(default_factory=dict)
    line: int = 0

    def path(self, root: Path) -> Path:
        """Where the file lies: relative names start at `root`."""
        return Path(os.path.normpath(root / Path(self.file.replace("\\", "/")).expanduser()))


def read_table(path: Path) -> list[Row]:
    """Rows of a CSV (with a header line), TSV or JSONL table with columns `file`, perhaps `label`, `caption`, others.

    Other columns go to `Row.more`, as numbers where they look like finite ones. Raises BadInput with the file and line
    for: no such file, text that is not UTF-8, no column `file`, broken lines, a file named twice, labels on some lines.
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
        raise BadInput(f"{shown(path)}: holds no rows")
    first: dict[str, int] = {}
    for row in rows:
        key = unicodedata.normalize("NFC", row.file)
        if key in first:
            raise BadInput(f"{shown(path)}:{row.line}: names {row.file!r} again; it stands on line {first[key]}")
        first[key] = row.line
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


def _row(fields: dict[str, Any], line: int, table: Path) -> Row:
    def text(name: str) -> str | None:
        value = fields.get(name)
        if value is not None and not isinstance(value, (str, int, float)):
            raise BadInput(f"{shown(table)}:{line}: {name} is not a text: {value!r}")
        return None if value is None or value == "" else unicodedata.normalize("NFC", str(value).strip())

    name = fields.get("file")
    if not isinstance(name, str) or not name.strip():
        raise BadInput(f"{shown(table)}:{line}: names no file")
    more = {k: v for k, v in fields.items() if k not in ("file", "label", "caption")}
    return Row(name.strip(), text("label"), text("caption"), more, line)
