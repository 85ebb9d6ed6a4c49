"""Generates a pack of sounds from a table: named files, trimmed, faded and normalized, with a table of the results.

    python examples/sound_pack.py runs/effects pack.csv --out pack --format wav24 --lufs -18

The table is CSV, TSV or YAML (a list of mappings) with the columns

    name      prefix of the files: `door` gives door_01.wav, door_02.wav, ...
    class     a class of the run, or a mixture {coin: 0.7, jump: 0.3}; empty: unconditional
    count     number of sounds; empty: 1
    duration  in seconds; empty: as the training data
    seed      empty: 0; the same seed gives the same sounds

All rows are checked before the first sound is generated. pack/pack.csv lists file, class, seconds, loudness, true peak,
and the seed and sample number that reproduce the sound with `sonolux sample RUN label=door seed=0`.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sonolux
import yaml
from sonolux.core.types import BadInput
from sonolux.core.util.messages import print_lines
from sonolux.core.util.progress import with_progress
from sonolux.modalities.audio import io
from sonolux.modalities.audio.post_processing import PostProcessing, ProcessedSound, post_process

COLUMNS = ("name", "class", "count", "duration", "seed")
RESULTS = ("file", "class", "seconds", "lufs", "measured", "true_peak", "limited", "seed", "sample")


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    label: Any
    count: int
    duration: float | None
    seed: int


def read_table(path: Path, trained: Any) -> list[Row]:
    """Read and check the rows of a table.

    Raises:
        BadInput: The table is not valid; the message lists all problems.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            rows = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadInput(f"{path}: {error}") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BadInput(f"{path}: a YAML table is a list of mappings with the keys {', '.join(COLUMNS)}")
    else:
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    if not rows:
        raise BadInput(f"{path}: holds no rows; its columns are {', '.join(COLUMNS)}")
    parsed, problems = [], []
    for i, row in enumerate(rows, 1):
        try:
            parsed.append(_parse(row, trained))
            if parsed[-1].name in [other.name for other in parsed[:-1]]:
                raise BadInput(f"the name {parsed[-1].name!r} occurs in two rows")
        except BadInput as error:
            problems.append(f"{path}: row {i}: {error}")
    if problems:
        raise BadInput(*problems)
    return parsed


def _parse(row: dict[str, Any], trained: Any) -> Row:
    unknown = [key for key in row if key not in COLUMNS]
    if unknown:
        raise BadInput(f"unknown column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}")
    name = str(row.get("name") or "").strip()
    if not re.fullmatch(r"\w[\w\-. ]{0,99}", name):
        raise BadInput(
            f"a name is at most 100 letters, digits, spaces, - and _, and starts with a letter, not {name!r}"
        )
    label = row.get("class")
    if isinstance(label, str):
        label = yaml.safe_load(label) if label.strip().startswith("{") else label.strip() or None
    if label is not None:
        if "label" not in trained.model.conditions:
            raise BadInput("this run has no classes: leave the column empty")
        condition = trained.model.conditions["label"]
        label = condition.format_value(condition.parse(label))
    duration = _number(row, "duration", float, None, 0.01)
    return Row(name, label, _number(row, "count", int, 1, 1), duration, _number(row, "seed", int, 0, 0))


def _number(row: dict[str, Any], key: str, kind: type, default: Any, least: float) -> Any:
    value = row.get(key)
    if value is None or str(value).strip() == "":
        return default
    try:
        number = kind(str(value).strip())
    except ValueError:
        number = None
    if number is None or not least <= number < 1e6:
        raise BadInput(f"{key} is {'a whole number' if kind is int else 'a number'} of at least {least}, not {value!r}")
    return number


def make(trained: Any, row: Row, settings: PostProcessing) -> list[tuple[ProcessedSound, int, int]]:
    """Generate the sounds of a row; returns each with its seed and sample number. Silent ones are left out."""
    changes = {"count": row.count, "seed": row.seed, "label": row.label, "seconds": row.duration}
    samples = trained.sample(**{key: value for key, value in changes.items() if value is not None or key == "label"})
    rate = trained.components.spec.rate
    done = [(post_process(sound, rate, settings), row.seed, i) for i, sound in enumerate(samples.media)]
    return [entry for entry in done if entry[0].lufs is not None]


def write(folder: Path, row: Row, sounds: list[tuple[ProcessedSound, int, int]], rate: float, form: str) -> list[dict]:
    """Write the sounds of a row, and return one record per sound."""
    digits = max(2, len(str(row.count)))
    records = []
    for i, (sound, seed, sample) in enumerate(sounds, 1):
        path = folder / f"{row.name}_{i:0{digits}d}{io.FORMATS[form].suffix}"
        io.write_sound(path, sound.wave, rate, form)
        values = (
            *(path.name, row.label, round(sound.seconds, 4), round(sound.lufs or 0, 2), sound.method),
            *(round(sound.true_peak, 2), sound.limited, seed, sample),
        )
        records.append(dict(zip(RESULTS, values, strict=True)))
    return records


def main(arguments: list[str] | None = None) -> int:
    """Generate the pack; for bad input print a message and return exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("table", type=Path, help="CSV, TSV or YAML")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--format", choices=list(io.FORMATS), default="wav16")
    parser.add_argument("--lufs", type=float, default=-18.0, help="loudness of every sound (default %(default)s)")
    parser.add_argument("--ceiling", type=float, default=-1.0, help="largest true peak in dBTP (default %(default)s)")
    parser.add_argument(
        "--trim", type=float, default=-55.0, help="level of silence, in dB below the peak (default %(default)s)"
    )
    parser.add_argument("--fade-in", type=float, default=2.0, help="ms")
    parser.add_argument("--fade-out", type=float, default=15.0, help="ms")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="sampling setting, such as steps=40"
    )
    args = parser.parse_args(arguments)
    try:
        settings = PostProcessing(args.trim, args.fade_in, args.fade_out, args.lufs, None, args.ceiling)
        trained = sonolux.load(args.run, changes=args.set)
        rate = trained.components.spec.rate
        if rate is None:
            raise BadInput(f"{args.run} is not an audio run")
        io.check_format(args.format, rate)
        rows = read_table(args.table, trained)
        if args.out.exists() and any(args.out.iterdir()) and not (args.out / "pack.csv").exists():
            raise BadInput(f"{args.out} holds something else than a sound pack: choose another folder")
        records, missing = [], 0
        for row in with_progress(rows, "sampling", "row", len(rows)):
            sounds = make(trained, row, settings)
            missing += row.count - len(sounds)
            records += write(args.out, row, sounds, rate, args.format)
    except BadInput as error:
        print_lines(*error.lines(), err=True)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "pack.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, RESULTS)
        table.writeheader()
        table.writerows(records)
    print_lines(
        f"{len(records)} sounds and pack.csv in {args.out}" + f"; {missing} were silent and left out" * (missing > 0)
    )
    limited = sum(record["limited"] for record in records)
    if limited:
        print_lines(f"{limited} of them are below {args.lufs:g} LUFS, since their peaks reach the ceiling")
    return 0


if __name__ == "__main__":
    sys.exit(main())
