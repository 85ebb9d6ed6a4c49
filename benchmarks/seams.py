"""Measures the seams of loops and the joints of long sounds. For runs of sounds, or of images that tile.

    python benchmarks/seams.py RUN ... [--count 100] [--seconds 2] [--seed 0] [--set steps=25]
    python benchmarks/seams.py RUN ... --long 10 [--count 12] [--overlap 0.5]

Loops: the jump from the last element to the first, divided by the pooled median jump inside; the same at 64 positions
inside, to show the scatter; the RMS of the 20 ms (of images: 4 pixels) around the seam divided by the loop's median,
and the same half-way round. For comparison, the same for samples that are not loops, which shows the effect of a seam.

--long: sounds of that many seconds, generated with overlapping windows of the length of the training sounds. At every
position where a window begins or ends: the jump, the level of the 20 ms around it, and the change of the spectrum (mel
bands in dB, the 50 ms before against the 50 ms after). For comparison, the same at positions half-way between, and with
windows that do not overlap, which shows the effect of a joint.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import torch
from _bench import Table, print_tables, runs_parser
from sonolux.core.editing.windows import WindowedEdit
from sonolux.core.evaluation.seams import (
    LoopSeamMeasures,
    WindowJointMeasures,
    measure_loop_seams,
    measure_window_joints,
)
from sonolux.core.types import BadInput
from sonolux.modalities.audio import dsp
from torch import Tensor

PICTURE = 4  # pixels around the seam of a tile


def show_seams(table: Table, found: LoopSeamMeasures, name: str, part: str) -> None:
    """Add the lines of one set of loops along one axis."""
    low, high = (float(found.chance.quantile(q)) for q in (0.05, 0.95))
    table.add(
        f"{name}: jump at the seam", found.jump, "{:.2f}", f"times the median; 90 % of positions: {low:.2f}-{high:.2f}"
    )
    at, half = found.share_within()
    table.add(
        f"{name}: level of {part} at the seam",
        float(found.level.median()),
        "{:+.2f}",
        f"dB, median; within 3 dB {at:.0%}, half-way round {half:.0%}",
    )


def measure_loops(trained: Any, run: str, args: argparse.Namespace) -> Table:
    """Loops of a run, and samples that are not loops, along every axis that may be circular."""
    spec, rate = trained.components.spec, trained.components.spec.rate
    request: dict[str, Any] = {"count": args.count, "seed": args.seed, "label": "cycle", "progress": True}
    if rate is not None:
        request["seconds"] = args.seconds or min(2.0, spec.size[0] / rate)
    part, about = (PICTURE, f"{PICTURE} pixels") if rate is None else (round(0.02 * rate), "20 ms")
    table = Table(f"{run} (step {trained.step}), {args.count} samples of seed {args.seed}")
    for name, loop in (("loops", True), ("no loops", False)):
        media = trained.sample(**request, loop=loop).media
        if rate is not None:
            table.title += f"; {name} of {media[0].shape[-1] / rate:.2f} s"
        for axis in range(1, media[0].ndim):
            along = "" if rate is not None else (", top to bottom", ", left to right")[axis - 1]
            show_seams(table, measure_loop_seams(media, part, axis), name + along, about)
    return table


def places_of_joints(trained: Any, frames: int, overlap: float) -> list[int]:
    """Media elements at which a window begins or ends inside a sound of `frames`."""
    codec, size = trained.codec, trained.components.spec.latent[1:]
    full = codec.shape((frames,))[1:]
    windows = WindowedEdit(size, overlap).windows_for(full)
    ends = {int(at) for (place,) in windows.places for at in (place[0], place[-1] + 1)}
    a_place = codec.unit // codec.shape((codec.unit,))[-1]  # not frames / full: the codec's last block may be padded
    return [at * a_place for at in sorted(ends) if 0 < at * a_place < frames]


def steps_of_spectra(sounds: Sequence[Tensor], places: Sequence[int], rate: float) -> Tensor:
    """dB, (sounds, places): mean over mel bands of | bands of the 50 ms before - those of the 50 ms after |."""
    half, n_fft = round(0.05 * rate), 256 if rate <= 12000 else 1024
    filters = dsp.mel_filters(n_fft, rate, 32)
    rows = []
    for sound in sounds:
        mono = sound.mean(0)
        floor = mono.abs().max() * 1e-3 + 1e-9
        window = torch.hann_window(n_fft)

        def bands(part: Tensor, window: Tensor = window, floor: Tensor = floor) -> Tensor:
            pieces = part.unfold(0, n_fft, n_fft // 4) * window
            power = torch.fft.rfft(pieces).abs().square().mean(0)
            return 10 * torch.log10(filters.square() @ power + floor**2)

        rows.append(torch.stack([(bands(mono[p : p + half]) - bands(mono[p - half : p])).abs().mean() for p in places]))
    return torch.stack(rows)


def measure_long(trained: Any, run: str, args: argparse.Namespace) -> Table:
    """Long sounds generated with windows, with overlap and without."""
    spec, rate = trained.components.spec, trained.components.spec.rate
    if rate is None or args.long * rate < 2 * spec.size[0]:
        raise BadInput(f"{run}: --long requires sounds, and at least twice the length of the training sounds")
    request = {"count": args.count, "seed": args.seed, "label": "cycle", "seconds": args.long, "progress": True}
    table = Table(
        f"{run} (step {trained.step}), {args.count} sounds of {args.long:g} s, windows of {spec.size[0] / rate:g} s"
    )
    part = round(0.02 * rate)
    for overlap in (args.overlap, 0.0):
        media = trained.sample(**request, windows=overlap).media
        at = places_of_joints(trained, media[0].shape[-1], overlap)
        edges = [0, *at, media[0].shape[-1]]
        between = [(a + b) // 2 for a, b in itertools.pairwise(edges)]
        between = [p for p in between if part * 4 < p < media[0].shape[-1] - part * 4]
        name = f"overlap {overlap:g}"
        for places, where in ((at, "joints"), (between, "between")):
            found: WindowJointMeasures = measure_window_joints(media, places, part)
            low, high = (float(found.chance.quantile(q)) for q in (0.05, 0.95))
            step = float(steps_of_spectra(media, places, rate).median())
            table.add(
                f"{name}, {len(places)} {where}: jump",
                found.jump,
                "{:.2f}",
                f"times the median; 90 % of positions: {low:.2f}-{high:.2f}",
            )
            table.add(
                f"{name}, {len(places)} {where}: level of 20 ms",
                float(found.level.median()),
                "{:+.2f}",
                f"dB; within 3 dB {found.share_within():.0%}",
            )
            table.add(f"{name}, {len(places)} {where}: step of the spectrum", step, "{:.2f}", "dB, median")
    return table


def main() -> int:
    """Measure every run."""
    parser = runs_parser(__doc__, None, "loops, 100; long sounds, 12")
    parser.add_argument("--seconds", type=float, help="of a loop; default: as in training, at most 2")
    parser.add_argument("--long", type=float, help="seconds of a sound generated with windows, instead of loops")
    parser.add_argument("--overlap", type=float, default=0.5, help="fraction of a window (default %(default)s)")
    args = parser.parse_args()
    args.count = args.count or (12 if args.long else 100)
    import sonolux

    def measure(run: str) -> Table:
        trained = sonolux.load(run, device="cpu", changes=args.set)
        return (measure_long if args.long else measure_loops)(trained, run, args)

    return print_tables(args.runs, measure)


if __name__ == "__main__":
    sys.exit(main())
