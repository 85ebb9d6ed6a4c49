"""Seamless loops of a class: engines, wind, rain.

    python examples/engine_loop.py runs/textures --label engine --seconds 2 --count 4 --out engines

The network is told that the sound is a loop, so that its end leads into its beginning: nothing is cross-faded, and
nothing may be trimmed. Each loop is levelled and written, and once more repeated, to listen to. loops.csv measures the
seams: the jump from the last sample to the first beside the median jump inside, and the level of the 20 ms around the
seam beside the loop's own.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import sonolux
import torch
from sonolux.core.types import BadInput
from sonolux.modalities.audio import io
from sonolux.modalities.audio.output import Finish, finish
from torch import Tensor

MADE = ("file", "seconds", "lufs", "true_peak", "jump", "seam_db", "seed", "sample")


def seam(loop: Tensor, rate: float) -> tuple[float, float]:
    """Of a loop (C, frames): |x_0 - x_last| over the median |x_i+1 - x_i|, and the level around the seam in dB.

    The level is the RMS of the 20 ms around the seam relative to the median of all stretches of 20 ms.
    """
    wave = loop.double().mean(0)
    inside = wave.diff().abs().median().clamp(min=1e-9)
    half = max(1, round(0.01 * rate))
    around = torch.cat([wave[-half:], wave[:half]])
    stretches = wave.unfold(0, 2 * half, half).square().mean(1).sqrt()
    level = 20 * torch.log10(around.square().mean().sqrt().clamp(min=1e-9) / stretches.median().clamp(min=1e-9))
    return float((wave[0] - wave[-1]).abs() / inside), float(level)


def main(arguments: list[str] | None = None) -> int:
    """Make the loops; exit code 2 and a message for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder or checkpoint, best trained on random parts of textures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--label", help="a class of the run")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a loop; rounded to what the codec can close")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=4, help="times in the file to listen to (default %(default)s)")
    parser.add_argument("--format", choices=list(io.FORMATS), default="wav16")
    parser.add_argument("--lufs", type=float, default=-20.0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of sampling: steps=40")
    args = parser.parse_args(arguments)
    try:
        how = Finish(trim=None, fade_in=0, fade_out=0, lufs=args.lufs)
        trained = sonolux.load(args.run, changes=args.set)
        rate = trained.parts.spec.rate
        if rate is None or args.count < 1 or args.repeat < 1:
            raise BadInput("engine_loop wants a run that makes sounds, and a count and repeat of 1 or more")
        if args.out.exists() and any(args.out.iterdir()) and not (args.out / "loops.csv").exists():
            raise BadInput(f"{args.out} holds something else than loops: name another folder")
        made = trained.sample(loop=True, label=args.label, seconds=args.seconds, count=args.count, seed=args.seed)
        rows, suffix = [], io.FORMATS[args.format].suffix
        for i, sound in enumerate(made.media):
            done = finish(sound, rate, how)
            path = args.out / f"{args.label or 'loop'}_{i + 1:02d}{suffix}"
            io.write(path, done.wave, rate, args.format)
            io.write(
                path.with_name(f"{path.stem}_repeated{suffix}"), done.wave.repeat(1, args.repeat), rate, args.format
            )
            jump, level = seam(done.wave, rate)
            loud = None if done.lufs is None else round(done.lufs, 2)
            facts = (path.name, round(done.seconds, 4), loud, round(done.true_peak, 2))
            rows.append((*facts, round(jump, 3), round(level, 2), args.seed, i))
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    with open(args.out / "loops.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(MADE)
        table.writerows(rows)
    for name, seconds, *_, jump, level, _seed, _sample in rows:
        print(f"{name}: {seconds:.3f} s; at the seam {jump:.2f} times the median jump, {level:+.1f} dB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
