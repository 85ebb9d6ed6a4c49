"""Seamless loops of a class: engines, wind, rain.

    python examples/engine_loop.py runs/textures --label engine --seconds 2 --count 4 --out engines

The network pads circularly along time, so that the end of a loop continues into its beginning; nothing is cross-faded
or trimmed. Each loop is normalized in loudness and written; a second file repeats it several times, for listening.
loops.csv has measurements of the seams: the jump from the last sample to the first, relative to the median jump between
neighbours, and the level of the 20 ms around the seam, relative to the median level of the loop.
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
from sonolux.modalities.audio.post_processing import PostProcessing, post_process
from torch import Tensor

COLUMNS = ("file", "seconds", "lufs", "true_peak", "jump", "seam_db", "seed", "sample")


def seam(loop: Tensor, rate: float) -> tuple[float, float]:
    """Measure the seam of a loop (C, frames).

    Returns:
        |x_0 - x_last| divided by the median of |x_(i+1) - x_i|, and the RMS of the 20 ms around the seam in dB,
        relative to the median of all segments of 20 ms.
    """
    wave = loop.double().mean(0)
    inside = wave.diff().abs().median().clamp(min=1e-9)
    half = max(1, round(0.01 * rate))
    around = torch.cat([wave[-half:], wave[:half]])
    segments = wave.unfold(0, 2 * half, half).square().mean(1).sqrt()
    level = 20 * torch.log10(around.square().mean().sqrt().clamp(min=1e-9) / segments.median().clamp(min=1e-9))
    return float((wave[0] - wave[-1]).abs() / inside), float(level)


def main(arguments: list[str] | None = None) -> int:
    """Generate the loops; for bad input print a message and return exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder or checkpoint, best trained on random parts of textures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--label", help="class name")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="length of a loop; rounded to a length that the codec supports"
    )
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--repeat", type=int, default=4, help="repetitions in the file for listening (default %(default)s)"
    )
    parser.add_argument("--format", choices=list(io.FORMATS), default="wav16")
    parser.add_argument("--lufs", type=float, default=-20.0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="sampling setting, such as steps=40"
    )
    args = parser.parse_args(arguments)
    try:
        settings = PostProcessing(trim=None, fade_in=0, fade_out=0, lufs=args.lufs)
        trained = sonolux.load(args.run, changes=args.set)
        rate = trained.components.spec.rate
        if rate is None or args.count < 1 or args.repeat < 1:
            raise BadInput("engine_loop needs an audio run, and --count and --repeat of 1 or more")
        if args.out.exists() and any(args.out.iterdir()) and not (args.out / "loops.csv").exists():
            raise BadInput(f"{args.out} holds something else than loops: choose another folder")
        samples = trained.sample(loop=True, label=args.label, seconds=args.seconds, count=args.count, seed=args.seed)
        rows, suffix = [], io.FORMATS[args.format].suffix
        for i, sound in enumerate(samples.media):
            done = post_process(sound, rate, settings)
            path = args.out / f"{file_stem(args.label or 'loop', 'loop')}_{i + 1:02d}{suffix}"
            io.write_sound(path, done.wave, rate, args.format)
            io.write_sound(
                path.with_name(f"{path.stem}_repeated{suffix}"), done.wave.repeat(1, args.repeat), rate, args.format
            )
            jump, level = seam(done.wave, rate)
            loud = None if done.lufs is None else round(done.lufs, 2)
            facts = (path.name, round(done.seconds, 4), loud, round(done.true_peak, 2))
            rows.append((*facts, round(jump, 3), round(level, 2), args.seed, i))
    except BadInput as error:
        print_lines(*error.lines(), err=True)
        return 2
    with open(args.out / "loops.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(rows)
    for name, seconds, *_, jump, level, _seed, _sample in rows:
        print_lines(f"{name}: {seconds:.3f} s; at the seam {jump:.2f} times the median jump, {level:+.1f} dB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
