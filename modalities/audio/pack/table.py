"""The table of a sound pack: what to make, row by row, from CSV, TSV or YAML."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ....core.pipeline.conditions import require_text_condition
from ....core.pipeline.pipeline import Pipeline
from ....core.types import BadInput
from ....core.util.messages import shorten
from .layers import PARTS
from .loops import loop_seconds

COLUMNS = ("name", "class", "prompt", "count", "seconds", "seed", "bpm", "beats", "layer", "start", "gain")
_MOST_BYTES, _MOST_COUNT = 1_000_000, 10_000
_LONGEST_NAME = 80


@dataclass(frozen=True)
class PackRow:
    """One row of the table.

    Attributes:
        label: A class, or a mixture of classes; None: unconditional.
        prompt: Text for a run with a text condition; None: none.
        count: Number of variations.
        seconds: Length of a sound; None: as the training data.
        seed: The first seed.
        bpm: Beats per minute of a loop; None: no loop.
        beats: Beats of a loop; None: no loop.
        layer: Part of a mix of rows of the same name; None: no mix.
        start: Seconds until the layer begins.
        gain: Level of the layer in dB.
        conditions: Values of other conditions of the run.
    """

    label: Any
    prompt: str | None
    count: int
    seconds: float | None
    seed: int
    bpm: float | None
    beats: float | None
    layer: str | None
    start: float
    gain: float
    conditions: dict[str, Any]

    @property
    def loop(self) -> bool:
        """Whether the sounds are loops."""
        return self.beats is not None


@dataclass(frozen=True)
class PackEntry:
    """The sounds of one name.

    Attributes:
        name: As in the names of the files: lower-case letters, digits and `_`.
        rows: One row, or the rows of its layers.
    """

    name: str
    rows: tuple[PackRow, ...]

    @property
    def first(self) -> PackRow:
        """The row that has the count, the seed and the loop's length."""
        return self.rows[0]


def asset_name(text: str) -> str:
    """A name that every game engine and file system takes: `Door, wood` is door_wood.

    Raises:
        BadInput: No letter or digit is left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not name or len(name) > _LONGEST_NAME:
        raise BadInput(
            f"a name has 1 to {_LONGEST_NAME} letters and digits (a to z, 0 to 9), not {shorten(repr(text))}"
        )
    return name


def read_pack_table(path: Path, pipeline: Pipeline) -> list[PackEntry]:
    """Read and check a table; rows of the same name that have a `layer` are one entry.

    Raises:
        BadInput: The table is not valid; the message lists all problems.
    """
    entries: dict[str, list[PackRow]] = {}
    problems = []
    for i, row in enumerate(_rows(path), 1):
        try:
            name, parsed = asset_name(str(row.get("name") or "")), _parsed(row, pipeline)
            earlier = entries.setdefault(name, [])
            if earlier and (parsed.layer is None or earlier[0].layer is None):
                raise BadInput(f"the name {name!r} occurs in two rows, which are no layers of one sound")
            if parsed.layer is not None and parsed.loop:
                raise BadInput(f"{name}: layers are not loops: leave bpm and beats out")
            if earlier and parsed.count not in (1, earlier[0].count):
                raise BadInput(f"{name}: the first layer has the count of the mixes: leave count empty")
            earlier.append(parsed)
        except BadInput as error:
            problems.append(f"{path}: row {i}: {error}")
    if problems:
        raise BadInput(*problems)
    return [PackEntry(name, tuple(rows)) for name, rows in entries.items()]


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadInput(f"{path}: a table has at most {_MOST_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            rows = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError) as error:
            raise BadInput(f"{path}: {error}") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BadInput(f"{path}: a YAML table is a list of mappings with the keys {', '.join(COLUMNS)}")
    else:
        try:
            rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
        except csv.Error as error:
            raise BadInput(f"{path}: no table: {error}") from error
    if not rows:
        raise BadInput(f"{path}: holds no rows; its columns are {', '.join(COLUMNS)}")
    return rows


def _parsed(row: Mapping[str, Any], pipeline: Pipeline) -> PackRow:
    if None in row:  # where `csv.DictReader` puts the rest of a line
        raise BadInput("the row has more cells than the table has columns")
    others = [name for name in pipeline.model.conditions if name not in (*COLUMNS, "label")]
    for key in row:
        if key not in (*COLUMNS, *others, "duration"):
            raise BadInput(f"unknown column {key!r}; the columns are {', '.join((*COLUMNS, *others))}")
    prompt = _text(row.get("prompt"))
    if prompt is not None:
        require_text_condition(pipeline.model)
    bpm, beats = (_number(row, key, float, None, 0) for key in ("bpm", "beats"))
    seconds = _number(row, "seconds", float, _number(row, "duration", float, None, 0.01), 0.01)
    if (bpm is None) != (beats is None):
        raise BadInput("a loop has bpm and beats: its length is beats * 60 / bpm seconds")
    if bpm is not None and beats is not None:
        if seconds is not None:
            raise BadInput("the length of a loop is beats * 60 / bpm: leave seconds empty")
        seconds = loop_seconds(beats, bpm)
    layer = _text(row.get("layer"))
    if layer is not None and layer not in PARTS:
        raise BadInput(f"layer is one of {', '.join(PARTS)}, not {layer!r}")
    start, gain = _number(row, "start", float, None, 0, 600), _number(row, "gain", float, None, -80, 40)
    if layer is None and (start, gain) != (None, None):
        raise BadInput(f"start and gain belong to a layer: leave them empty, or set layer to {', '.join(PARTS)}")
    return PackRow(
        label=_label(row.get("class"), pipeline),
        prompt=prompt,
        count=_number(row, "count", int, 1, 1, _MOST_COUNT),
        seconds=seconds,
        seed=_number(row, "seed", int, 0, 0),
        bpm=bpm,
        beats=beats,
        layer=layer,
        start=start or 0.0,
        gain=gain or 0.0,
        conditions=_conditions({**row, "bpm": bpm, "beats": beats}, pipeline),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value).strip() or None


def _label(value: Any, pipeline: Pipeline) -> Any:
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value) if value.strip().startswith("{") else value.strip() or None
        except yaml.YAMLError:
            raise BadInput(f"class is a name or a mixture such as {{a: 0.5, b: 0.5}}, not {shorten(value)!r}") from None
    if value is None:
        return None
    if "label" not in pipeline.model.conditions:
        raise BadInput("this run has no classes: leave the column `class` empty")
    condition: Any = pipeline.model.conditions["label"]
    return condition.format_value(condition.parse(value))


def _conditions(row: Mapping[str, Any], pipeline: Pipeline) -> dict[str, Any]:
    """The values of the run's other conditions that the row has; `bpm` and `beats` may be conditions too."""
    found = {}
    for name, condition in pipeline.model.conditions.items():
        if name not in ("label", "seconds") and (value := row.get(name)) not in (None, ""):
            parse: Callable[[Any], Any] = condition.parse  # type: ignore[assignment]
            found[name] = condition.format_value(parse(value))  # type: ignore[operator]
    return found


def _number(row: Mapping[str, Any], key: str, kind: type, default: Any, least: float, most: float = 1e6) -> Any:
    value = row.get(key)
    if value is None or str(value).strip() == "":
        return default
    try:
        number = kind(str(value).strip())
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        what = "a whole number" if kind is int else "a number"
        raise BadInput(f"{key} is {what} from {least:g} to {most:g}, not {shorten(repr(value))}")
    return number
