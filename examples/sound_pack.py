"""Generates a pack of sounds from a table: files with names for game engines, pack.csv, and pack.json for scripts.

    python examples/sound_pack.py runs/effects pack.csv --out pack --rate 48000 --lufs -18

The table is CSV, TSV or YAML (a list of mappings) with the columns

    name            of the files: `Door wood` gives door_wood_01.wav, door_wood_02.wav, ...
    class, prompt   a class of the run or a mixture {coin: 0.7, jump: 0.3}; a text for a run with text; empty: none
    count           number of variations; empty: 1. No two are alike, and none is a copy of a training sound
    seconds         length; empty: as the training data
    seed            empty: 0; the same seed gives the same sounds
    bpm, beats      a loop of beats * 60 / bpm seconds, exact to the sample
    layer           transient, body or tail: rows of the same name are mixed; with start (seconds) and gain (dB)

and one for any other condition of the run. All rows are checked before the first sound is generated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sonolux
from sonolux.core.types import BadInput
from sonolux.core.util.messages import print_lines
from sonolux.core.util.progress import with_progress
from sonolux.modalities.audio import io
from sonolux.modalities.audio.pack.folder import MANIFEST, TABLE, check_pack_folder, write_pack
from sonolux.modalities.audio.pack.make import PackMaker
from sonolux.modalities.audio.pack.table import read_pack_table
from sonolux.modalities.audio.post_processing import PostProcessing

FAST = 1.03  # a loop that is played faster or slower by more is reported


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("table", type=Path, help="CSV, TSV or YAML")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--format", choices=list(io.FORMATS), default="wav16")
    parser.add_argument("--rate", type=float, help="Hz, such as 44100 or 48000 (default: that of the run)")
    parser.add_argument("--lufs", type=float, default=-18.0, help="loudness of every sound (default %(default)s)")
    parser.add_argument("--ceiling", type=float, default=-1.0, help="largest true peak in dBTP (default %(default)s)")
    parser.add_argument("--trim", type=float, default=-55.0, help="level of silence in dB (default %(default)s)")
    parser.add_argument("--fade-in", type=float, default=2.0, help="ms")
    parser.add_argument("--fade-out", type=float, default=15.0, help="ms")
    parser.add_argument("--similarity", type=float, help="above it a sound is a copy (default: measured; 1: no check)")
    parser.add_argument("--data", type=Path, help="folder of the training data, if it was moved")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="sampling setting: steps=40")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Generate the pack; exit code 1 if sounds are missing, 2 for bad input."""
    args = parsed(arguments)
    try:
        settings = PostProcessing(args.trim, args.fade_in, args.fade_out, args.lufs, None, args.ceiling)
        trained = sonolux.load(args.run, changes=args.set)
        if trained.components.spec.modality != "audio":
            raise BadInput(f"{args.run} is not an audio run")
        if args.rate is not None and not 4000 <= args.rate <= 384000:
            raise BadInput(f"--rate lies between 4000 and 384000 Hz; got {args.rate:g}")
        if args.similarity is not None and not -1 <= args.similarity <= 1:
            raise BadInput(f"--similarity lies between -1 and 1; got {args.similarity:g}")
        maker = PackMaker(trained, args.rate, settings, args.similarity, args.data)
        io.check_format(args.format, maker.rate)
        entries = read_pack_table(args.table, trained)
        check_pack_folder(args.out)
        sounds, notes = [], []
        for entry in with_progress(entries, "sampling", "sound", len(entries)):
            made, found = maker.make(entry)
            sounds += made
            if len(made) < entry.first.count:
                notes.append(f"{entry.name}: {found.summary(entry.first.count)}")
        facts = {"run": trained.recipe.name, "step": trained.step, "lufs": args.lufs}
        files = write_pack(args.out, sounds, maker.rate, args.format, facts)
    except BadInput as error:
        print_lines(*error.lines(), err=True)
        return 2
    print_lines(f"{len(files)} sounds, {TABLE} and {MANIFEST} in {args.out}", *notes)
    if limited := sum(line.limited for line in files):
        print_lines(f"{limited} of them are below {args.lufs:g} LUFS, since their peaks reach the ceiling")
    if fast := [line for line in files if not 1 / FAST <= line.speed <= FAST]:
        print_lines(f"{fast[0].file} is played {fast[0].speed:.3f} times as fast, to have its exact length")
    return int(bool(notes))


if __name__ == "__main__":
    sys.exit(main())
