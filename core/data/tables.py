"""Tables of files with labels, captions and other attributes: CSV, TSV or JSONL.

Real tables come from spreadsheets, scripts and hands. One policy: what can be read in one way only is read (separators,
spaces and letter case in the header, quoted line breaks, empty lines), and everything else is one message with file and
line.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..util.errors import BadInput
from ..util.labels import normalise_label
from ..util.messages import CONTROL, did_you_mean, shorten, similar_names
from ..util.notes import issue_note
from ..util.paths import expand_home
from .captions import Caption, clean_captions
from .files import format_path

COLUMNS = ("file", "label", "caption")
_OTHER_NAMES = {  # column -> what others call it
    "label": ("class", "classes", "classname", "category", "tag", "tags", "target"),
    "caption": ("text", "description", "prompt", "transcript"),
}
LONGEST_LABEL = 255  # characters, as in the name of a folder
SEPARATORS = (",", ";", "\t")

_INVALID = {  # characters that a value must not contain: labels and names are printed in one line
    "file": re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]"),
    "label": re.compile(CONTROL),
    "caption": re.compile(r"[\x00\ud800-\udfff]"),
}

Fields = dict[str, Any]


@dataclass(frozen=True)
class TableRow:
    """One line of a table.

    Attributes:
        file: The file as written in the table.
        label: Its label; None: not given.
        caption: Its caption, or several (a list in JSONL); None: not given.
        more: The other columns.
        line: Number of the line.
    """

    file: str
    label: str | None = None
    caption: Caption = None
    more: Fields = field(default_factory=dict)
    line: int = 0

    def path(self, root: Path) -> Path:
        """Path of the file, see `locate_file`; if there is none, a `~` at the beginning means a home folder.

        Raises:
            BadInput: The name cannot be a path.
        """
        path = locate_file(self.file, root)
        return (
            path if os.path.exists(path) else Path(os.path.normpath(root / expand_home(self.file.replace("\\", "/"))))
        )


def locate_file(file: str, root: Path) -> Path:
    """Path of a file by its name; relative names start from `root`, and Unicode may be composed or decomposed."""
    name = file.replace("\\", "/")
    forms = [name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
    paths = [Path(os.path.normpath(root / form)) for form in forms]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def rows_with_paths(table: Path, root: Path) -> list[tuple[TableRow, Path]]:
    """The rows of a table with the paths of their files.

    Raises:
        BadInput: As `read_table`; a name cannot be a path, or two lines name the same file.
    """
    found, first = [], dict[Path, int]()
    for row in read_table(table):
        place = f"{format_path(expand_home(table))}:{row.line}"
        try:
            path = row.path(root)
        except BadInput as error:
            raise BadInput(f"{place}: {error}") from None
        if first.setdefault(path, row.line) != row.line:
            raise BadInput(f"{place}: names {shorten(row.file)!r} again; see line {first[path]}")
        found.append((row, path))
    if not any(os.path.exists(path) for _, path in found):
        raise BadInput(
            f"{format_path(expand_home(table))}: none of its {len(found)} files exists, such as "
            f"{shorten(found[0][0].file)!r}: names start from the folder {format_path(root)}"
        )
    return found


def read_table(table: Path) -> list[TableRow]:
    """Read a table: CSV (separated by commas, semicolons or tabs) or TSV with a header line, or JSONL.

    The column `file` is required; `label` and `caption` are optional. Spaces around these names and their letter case
    are ignored. Other columns go to `more`: as numbers if they are written as Python writes numbers, otherwise as text,
    so that `007` and `3.10` remain the labels that they may be.

    Raises:
        BadInput: No such file, text that is not UTF-8, no column `file`, invalid lines, a file named twice, or labels
            on some lines only. The message names file and line.
    """
    path = expand_home(table)
    if not path.is_file():
        raise BadInput(f"data.table: no such file: {format_path(path)}")
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    if path.suffix.casefold() not in readers:
        raise BadInput(f"data.table: {format_path(path)} is not a .csv, .tsv or .jsonl file")
    rows = [
        _row(fields, line, format_path(path)) for line, fields in readers[path.suffix.casefold()](path, _text_of(path))
    ]
    if not rows:
        raise BadInput(f"{format_path(path)}: contains no rows")
    first: dict[str, int] = {}
    for row in rows:
        name = os.path.normpath(normalise_label(row.file).replace("\\", "/"))
        if first.setdefault(name, row.line) != row.line:
            raise BadInput(f"{format_path(path)}:{row.line}: names {shorten(row.file)!r} again; see line {first[name]}")
    without = [row.line for row in rows if row.label is None]
    if without and len(without) < len(rows):
        raise BadInput(f"{format_path(path)}:{without[0]}: no label, though other lines have one")
    _note_similar_names(rows, format_path(path))
    return rows


def _note_similar_names(rows: Sequence[TableRow], table: str) -> None:
    """Warn of a column that is an attribute now and may be a label or caption under another name."""
    missing = [name for name in _OTHER_NAMES if all(getattr(row, name) is None for row in rows)]
    meant = {other: name for name in missing for other in _OTHER_NAMES[name]}
    for column in dict.fromkeys(name for row in rows for name in row.more):
        if name := meant.get(column.casefold()) or next(iter(similar_names(column, missing, count=1)), None):
            remedy = f"if it is, rename it to {name}"
            issue_note(
                f"{table}: the column {shorten(column)!r} is an attribute, not the {name}: {remedy}", stacklevel=3
            )


def note_folder_labels(table: Path) -> None:
    """Warn that the folders are the classes of a table without labels."""
    issue_note(
        f"{format_path(expand_home(table))}: no line has a label: the names of the folders are the classes; without "
        f"classes: data.label=none",
        stacklevel=3,
    )


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{format_path(path)}: cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(
            f"{format_path(path)}:{line}: not a table in UTF-8 text: save it as UTF-8 ({error.reason})"
        ) from None


def _columns(names: Sequence[str], place: str) -> list[str]:
    """The names of columns: without spaces around them, and `file`, `label`, `caption` in any letter case.

    Raises:
        BadInput: A name occurs twice, or contains line breaks or other control characters.
    """
    known = {name: name for name in COLUMNS}
    if invalid := [name for name in names if _INVALID["label"].search(name.strip())]:
        raise BadInput(f"{place}: the name of a column contains control characters: {shorten(ascii(invalid[0]))}")
    columns = [known.get(name.strip().casefold(), unicodedata.normalize("NFC", name.strip())) for name in names]
    for i, name in enumerate(columns):
        if name and name in columns[:i]:
            raise BadInput(f"{place}: two columns are called {shorten(name)!r}: rename or remove one")
    return columns


# --- CSV ---


def _csv(path: Path, text: str) -> Iterator[tuple[int, Fields]]:
    rows = _csv_rows(text, _separator(path, text), format_path(path))
    top, names = next(rows, (1, []))
    columns = _columns(names, f"{format_path(path)}:{top}")
    if "file" not in columns:
        near = did_you_mean("file", columns).replace("did you mean", "is it")
        listed = shorten(", ".join(columns), 90)
        raise BadInput(f"{format_path(path)}:{top}: the header has no column 'file': {listed or 'it is empty'}{near}")
    if mixed := [name for name in columns if any(separator in name for separator in SEPARATORS)]:
        raise BadInput(
            f"{format_path(path)}:{top}: the column {shorten(mixed[0])!r} has a separator in its name: rename it"
        )
    while not columns[-1]:
        columns.pop()
    for line, cells in rows:
        while len(cells) > len(columns) and not cells[-1].strip():
            cells.pop()
        unnamed = any(cell.strip() and not name for name, cell in zip(columns, cells, strict=False))
        if len(cells) != len(columns) or unnamed:
            few = len(cells) < len(columns)
            raise BadInput(
                f"{format_path(path)}:{line}: {'fewer' if few else 'more'} fields than the header has names "
                f"({len(cells)}, "
                f"{len(columns)}); quote texts that contain the separator"
            )
        fields = {name: cell for name, cell in zip(columns, cells, strict=True) if name}
        yield line, {name: cell if name in COLUMNS else _number(cell) for name, cell in fields.items()}


def _separator(path: Path, text: str) -> str:
    """The separator for which the header has a column `file`: a comma, a semicolon or a tab."""
    tried = ("\t",) if path.suffix.casefold() == ".tsv" else SEPARATORS
    for separator in tried:
        try:
            _, names = next(_csv_rows(text, separator, format_path(path)), (1, []))
        except BadInput:
            continue
        if "file" in [name.strip().casefold() for name in names]:
            return separator
    return tried[0]


def _csv_rows(text: str, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """(line of its beginning, cells) of each row that is not empty; quoted cells may contain line breaks."""
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadInput(f"{name}:{line}: not CSV: {error}") from None
        if any(cell.strip() for cell in cells):
            yield line, cells
        line = reader.line_num + 1


def _number(text: str) -> int | float | str:
    """The number that Python writes as `text`; otherwise the text."""
    for kind in (int, float):
        try:
            value = kind(text)
            if str(value) == text and math.isfinite(value) and abs(value) < 2**63:
                return value
        except ValueError:
            continue
    return text


# --- JSONL ---


def _jsonl(path: Path, text: str) -> Iterator[tuple[int, Fields]]:
    for line, row in enumerate(text.split("\n"), 1):
        place = f"{format_path(path)}:{line}"
        if not row.strip():
            continue
        try:
            fields = json.loads(
                row,
                object_pairs_hook=_without_duplicates,
                parse_constant=_no_constant,
                parse_int=_integer,
                parse_float=_number,
            )
        except RecursionError:
            raise BadInput(f"{place}: not JSON of a table: nested too deeply") from None
        except ValueError as error:
            raise BadInput(f"{place}: not JSON: {shorten(str(error), 90)}") from None
        if not isinstance(fields, dict):
            raise BadInput(f"{place}: not an object with a key 'file'")
        fields = dict(zip(_columns(list(fields), place), fields.values(), strict=True))
        if "file" not in fields:
            raise BadInput(f"{place}: not an object with a key 'file'")
        yield line, fields


def _without_duplicates(pairs: list[tuple[str, Any]]) -> Fields:
    found: Fields = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {shorten(name)!r} occurs twice")
        found[name] = value
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number: write null or leave the key out")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= 2**63:
        raise ValueError(f"the integer {shorten(text, 24)} has more than 64 bits")
    return int(text)


# --- values ---


def _row(fields: Fields, line: int, table: str) -> TableRow:
    place = f"{table}:{line}"
    name = _text(fields, "file", place)
    if name is None or not isinstance(fields["file"], str):
        raise BadInput(f"{place}: names no file")
    label, more = _text(fields, "label", place), {k: v for k, v in fields.items() if k not in COLUMNS}
    if label is not None and len(label) > LONGEST_LABEL:
        raise BadInput(f"{place}: the label {shorten(label, 40)!r} has more than {LONGEST_LABEL} characters")
    for column, value in more.items():
        _check_value(column, value, place)
    return TableRow(fields["file"].strip(), label, _captions(fields, place), more, line)


def _captions(fields: Fields, place: str) -> Caption:
    value = fields.get("caption")
    if not isinstance(value, list):
        return _text(fields, "caption", place)
    return clean_captions(text for one in value if (text := _text({"caption": one}, "caption", place)) is not None)


def _text(fields: Fields, column: str, place: str) -> str | None:
    value = fields.get(column)
    if value is not None and not isinstance(value, (str, int, float)):
        raise BadInput(f"{place}: {column} is not a text: {shorten(repr(value))}")
    text = "" if value is None else normalise_label(value).strip()
    if _INVALID[column].search(text):
        raise BadInput(f"{place}: {column} contains characters that it cannot have: {shorten(ascii(text))}")
    return text or None


def _check_value(column: str, value: Any, place: str) -> None:
    """Check that a value is a text, a number, true, false, null, or a list of these."""
    for part in [column, *(value if isinstance(value, list) else [value])]:
        if not (part is None or isinstance(part, (str, int, float))):
            raise BadInput(f"{place}: {shorten(column)!r} is not a text, a number, or a list of these")
        if isinstance(part, str) and _INVALID["caption"].search(part):
            raise BadInput(f"{place}: {shorten(column)!a} contains NUL or invalid Unicode: {shorten(ascii(part))}")
