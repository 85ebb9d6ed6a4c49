"""Interpolates between two sounds in equal steps: two files, or two classes.

    python examples/morph.py runs/effects coin jump --count 7 --out coin-to-jump
    python examples/morph.py runs/effects a.wav b.wav --count 5 --out a-to-b

Files are inverted to noise, and the two noises are interpolated spherically; classes are mixed. Every step is trimmed,
faded and normalized in loudness; all.wav contains all steps in sequence.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sonolux
import torch
from sonolux.core.types import BadInput
from sonolux.core.util.messages import format_json, print_lines
from sonolux.modalities.audio import io
from sonolux.modalities.audio.post_processing import PostProcessing, post_process


def main(arguments: list[str] | None = None) -> int:
    """Generate the steps; for bad input print a message and return exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("a", help="a file or a class name")
    parser.add_argument("b", help="another file or class name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=7, help="steps, both ends included (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gap", type=float, default=0.25, help="seconds of silence between the steps in all.wav")
    parser.add_argument("--format", choices=list(io.FORMATS), default="wav16")
    parser.add_argument("--lufs", type=float, default=-18.0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="sampling setting, such as steps=40"
    )
    args = parser.parse_args(arguments)
    try:
        settings = PostProcessing(lufs=args.lufs)
        trained = sonolux.load(args.run, changes=args.set)
        rate = trained.components.spec.rate
        if rate is None:
            raise BadInput(f"{args.run} is not an audio run")
        if args.out.exists() and any(args.out.iterdir()) and not (args.out / "morph.json").exists():
            raise BadInput(f"{args.out} holds something else than a morph: choose another folder")
        samples = trained.morph(args.a, args.b, count=args.count, seed=args.seed)
        suffix, row, facts = io.FORMATS[args.format].suffix, [], []
        for i, (sound, conditions) in enumerate(zip(samples.media, samples.conditions, strict=True)):
            done = post_process(sound, rate, settings)
            path = args.out / f"step_{i + 1:02d}{suffix}"
            io.write_sound(path, done.wave, rate, args.format)
            row += [done.wave, torch.zeros(len(sound), round(args.gap * rate))]
            facts.append({"file": path.name, "seconds": done.seconds, "lufs": done.lufs, **conditions})
        io.write_sound(args.out / f"all{suffix}", torch.cat(row, 1), rate, args.format)
        samples.modality.sheet(args.out / "sheet.png", samples.media, samples.captions)
    except BadInput as error:
        print_lines(*error.lines(), err=True)
        return 2
    record = {"settings": samples.settings, "steps": facts}
    (args.out / "morph.json").write_text(format_json(record) + "\n", encoding="utf-8")
    print_lines(f"{len(facts)} steps, all{suffix}, sheet.png and morph.json in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
