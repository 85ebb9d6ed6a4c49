"""N different variations of one class or of one file: footsteps, shots, hits.

    python examples/footsteps.py runs/steps --label gravel --count 20 --out gravel
    python examples/footsteps.py runs/steps --file step.wav --strength 0.6 --count 20 --out step

The script generates twice the requested number. A sound is accepted if it is not too similar to a sound accepted
before, to a training sound of the run, or to the file. The similarity is 1 for copies at any level, polarity and
position, and about 0.6 for unrelated sounds. variations.csv lists the accepted sounds and their similarities.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import sonolux
import torch
from sonolux.core.types import BadInput
from sonolux.core.util.folders import file_stem
from sonolux.core.util.messages import print_lines
from sonolux.modalities.audio import io
from sonolux.modalities.audio.pack.variations import (
    Variation,
    find_variations,
    similarities_to_others,
    similarity_ceiling,
    training_sounds,
)
from sonolux.modalities.audio.post_processing import PostProcessing, post_process

COLUMNS = ("file", "seconds", "lufs", "true_peak", "seed", "sample", "alike_to_training", "alike_to_another")


def write(folder: Path, name: str, kept: list[Variation], rate: float, form: str, settings: PostProcessing) -> None:
    """Write the variations and variations.csv."""
    others = similarities_to_others([k.sound for k in kept], rate)
    rows = []
    for i, (variation, other) in enumerate(zip(kept, others, strict=True), 1):
        done = post_process(variation.sound, rate, settings)
        path = folder / f"{file_stem(name, 'sound')}_{i:02d}{io.FORMATS[form].suffix}"
        io.write_sound(path, done.wave, rate, form)
        level = None if done.lufs is None else round(done.lufs, 2)
        facts = (path.name, round(done.seconds, 4), level, round(done.true_peak, 2), variation.seed, variation.sample)
        rows.append((*facts, round(variation.to_training or 0.0, 3), round(other, 3)))
    with open(folder / "variations.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(rows)


def main(arguments: list[str] | None = None) -> int:
    """Generate the variations; exit code 1 if fewer than requested were found, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--label", help="class name")
    parser.add_argument("--file", type=Path, help="vary this file instead")
    parser.add_argument(
        "--strength", type=float, default=0.6, help="strength of the variation of --file (default %(default)s)"
    )
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="length of each sound; default: as the training data")
    parser.add_argument(
        "--alike",
        type=float,
        help="similarity above which a sound is rejected (default: the median between known sounds, at least 0.9)",
    )
    parser.add_argument("--data", type=Path, help="folder of the training data, if it was moved")
    parser.add_argument("--format", choices=list(io.FORMATS), default="wav16")
    parser.add_argument("--lufs", type=float, default=-18.0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="sampling setting, such as steps=40"
    )
    args = parser.parse_args(arguments)
    try:
        finishing = PostProcessing(lufs=args.lufs)
        trained = sonolux.load(args.run, changes=args.set)
        rate = trained.components.spec.rate
        if rate is None or args.count < 1:
            raise BadInput("footsteps needs an audio run, and a --count of 1 or more")
        if args.out.exists() and any(args.out.iterdir()) and not (args.out / "variations.csv").exists():
            raise BadInput(f"{args.out} holds something else than variations: choose another folder")
        known = training_sounds(trained, args.label, args.data)
        known += [io.read_sound(args.file, rate, trained.components.spec.channels).wave] if args.file else []
        limit = similarity_ceiling(known, rate) if args.alike is None else args.alike
        settings = {"label": args.label} | ({} if args.seconds is None else {"seconds": args.seconds})

        def takes(seed: int, count: int) -> list[torch.Tensor]:
            asked = {**settings, "seed": seed, "count": count}
            made = trained.sample(**asked) if args.file is None else trained.vary(args.file, args.strength, **asked)
            return made.media

        with torch.no_grad():
            found = find_variations(takes, args.count, rate, args.seed, known, limit)
        args.out.mkdir(parents=True, exist_ok=True)
        write(
            args.out, args.label or (args.file.stem if args.file else "sound"), found.kept, rate, args.format, finishing
        )
    except BadInput as error:
        print_lines(*error.lines(), err=True)
        return 2
    print_lines(f"{found.summary(args.count)} (similarity above {limit:.2f}); variations.csv in {args.out}")
    return int(len(found.kept) < args.count)


if __name__ == "__main__":
    sys.exit(main())
