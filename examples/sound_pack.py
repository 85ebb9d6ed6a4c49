"""A table of wanted sounds -> named files, trimmed, faded and levelled alike, and a table of what was made.

    python examples/sound_pack.py runs/effects pack.csv --out pack --format wav24 --lufs -18

The table is CSV, TSV or YAML (a list of mappings) with the columns

    name      of the files: `door` becomes door_01.wav, door_02.wav, ...
    class     one of the run's, or a mixture {coin: 0.7, jump: 0.3}; empty: any
    count     how many; empty: 1
    duration  in seconds; empty: as long as the run's data are
    seed      empty: 0; the same seed gives the same sounds

All rows are checked before anything is made. pack/pack.csv lists file, class, seconds, loudness, true peak, and the
seed and sample that give the sound again: `sonolux sample RUN label=door seed=0` has it as that sample.
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
from sonolux.core.util.progress import tracked
from sonolux.modalities.audio import io
from sonolux.modalities.audio.output import Finish, Finished, finish

COLUMNS = ("name", "class", "count", "duration", "seed")
MADE = ("file", "class", "seconds", "lufs", "measured", "true_peak", "limited", "seed", "sample")


@dataclass(frozen=True)
class Wanted:
    """One row of the table."""

    name: str
    label: Any
    count: int
    duration: float | None
    seed: int


def read_table(path: Path, trained: Any) -> list[Wanted]:
    """The rows of a table.

    Raises:
        BadInput: The message lists everything that is wrong with it.
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
    wanted, wrong = [], []
    for i, row in enumerate(rows, 1):
        try:
            wanted.append(_wanted(row, trained))
            if wanted[-1].name in [w.name for w in wanted[:-1]]:
                raise BadInput(f"the name {wanted[-1].name!r} stands in two rows")
        except BadInput as error:
            wrong.append(f"{path}: row {i}: {error}")
    if wrong:
        raise BadInput("\n".join(wrong))
    return wanted


def _wanted(row: dict[str, Any], trained: Any) -> Wanted:
    unknown = [key for key in row if key not in COLUMNS]
    if unknown:
        raise BadInput(f"unknown column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}")
    name = str(row.get("name") or "").strip()
    if not re.fullmatch(r"[\w\-. ]+", name) or name.startswith("."):
        raise BadInput(f"a name is letters, digits, spaces, - and _, not {name!r}")
    label = row.get("class")
    if isinstance(label, str):
        label = yaml.safe_load(label) if label.strip().startswith("{") else label.strip() or None
    if label is not None:
        if "label" not in trained.model.conditions:
            raise BadInput("this run knows no classes: leave the column empty")
        condition = trained.model.conditions["label"]
        label = condition.show(condition.parse(label))
    duration = _number(row, "duration", float, None, 0.01)
    return Wanted(name, label, _number(row, "count", int, 1, 1), duration, _number(row, "seed", int, 0, 0))


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


def make(trained: Any, row: Wanted, how: Finish) -> list[tuple[Finished, int, int]]:
    """The sounds of a row, finished, each with the seed and sample that give it again; silent ones are left out."""
    asked = {"count": row.count, "seed": row.seed, "label": row.label, "seconds": row.duration}
    made = trained.sample(**{key: value for key, value in asked.items() if value is not None or key == "label"})
    rate = trained.parts.spec.rate
    done = [(finish(sound, rate, how), row.seed, i) for i, sound in enumerate(made.media)]
    return [one for one in done if one[0].lufs is not None]


def write(folder: Path, row: Wanted, made: list[tuple[Finished, int, int]], rate: float, form: str) -> list[dict]:
    """Write the sounds of a row; a record of each."""
    digits = max(2, len(str(row.count)))
    records = []
    for i, (sound, seed, sample) in enumerate(made, 1):
        path = folder / f"{row.name}_{i:0{digits}d}{io.FORMATS[form].suffix}"
        io.write(path, sound.wave, rate, form)
        values = (
            *(path.name, row.label, round(sound.seconds, 4), round(sound.lufs or 0, 2), sound.method),
            *(round(sound.true_peak, 2), sound.limited, seed, sample),
        )
        records.append(dict(zip(MADE, values, strict=True)))
    return records


def main(arguments: list[str] | None = None) -> int:
    """Make the pack; exit code 2 and a message for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("table", type=Path, help="CSV, TSV or YAML")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--format", choices=list(io.FORMATS), default="wav16")
    parser.add_argument("--lufs", type=float, default=-18.0, help="loudness of every sound (default %(default)s)")
    parser.add_argument("--ceiling", type=float, default=-1.0, help="largest true peak in dBTP (default %(default)s)")
    parser.add_argument("--trim", type=float, default=-55.0, help="dB under the loudest that is silence")
    parser.add_argument("--fade-in", type=float, default=2.0, help="ms")
    parser.add_argument("--fade-out", type=float, default=15.0, help="ms")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of sampling: steps=40")
    args = parser.parse_args(arguments)
    try:
        how = Finish(args.trim, args.fade_in, args.fade_out, args.lufs, None, args.ceiling)
        trained = sonolux.load(args.run, changes=args.set)
        rate = trained.parts.spec.rate
        if rate is None:
            raise BadInput(f"{args.run} makes pictures, not sounds")
        io.check_form(args.format, rate)
        rows = read_table(args.table, trained)
        if args.out.exists() and any(args.out.iterdir()) and not (args.out / "pack.csv").exists():
            raise BadInput(f"{args.out} holds something else than a sound pack: name another folder")
        records, missing = [], 0
        for row in tracked(rows, "making", "row", len(rows)):
            made = make(trained, row, how)
            missing += row.count - len(made)
            records += write(args.out, row, made, rate, args.format)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "pack.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, MADE)
        table.writeheader()
        table.writerows(records)
    print(f"{len(records)} sounds and pack.csv in {args.out}" + f"; {missing} were silent and left out" * (missing > 0))
    limited = sum(record["limited"] for record in records)
    if limited:
        print(f"{limited} of them are softer than {args.lufs:g} LUFS: their peaks are at the ceiling")
    return 0


if __name__ == "__main__":
    sys.exit(main())
