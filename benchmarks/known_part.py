"""The phase of a missing part of a sound: continued from the known parts, estimated apart from them, and random.

    python benchmarks/known_part.py [FOLDER ...] [--count 24] [--iterations 16 64]

Sounds of 1 s at 8 kHz: tones with nine partials, and the first `count` sounds of each FOLDER that are long enough and
not silent. A quarter of each is missing (2000 samples); its magnitudes are known exactly, and Griffin-Lim finds the
phase. Medians over the sounds:

magnitudes    error of the magnitudes, in dB of their energy, in the frames that reach into the missing part
beginning     signal-to-error ratio in dB, first 32 ms of the missing part
middle        the same in the 50 ms in its middle
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from _bench import exit_code
from sonolux.core.data.files import find_files
from sonolux.core.types import BadInput
from sonolux.modalities.audio import dsp, io
from sonolux.modalities.audio.phase import phase_from_magnitude
from torch import Tensor

RATE, LENGTH, N_FFT, HOP = 8000, 8064, 512, 128  # Hz, samples
START, END = 3000, 5000  # samples of the missing part


def make_tones(count: int) -> Tensor:
    """Tones of nine partials, (count, 1, LENGTH)."""
    t, partials = torch.arange(LENGTH) / RATE, torch.arange(1, 10)[:, None]
    pitches = 150 + 17 * torch.arange(count)  # Hz
    waves = torch.sin(2 * math.pi * pitches[:, None, None] * partials * t + partials**2) / (10 * partials)
    return waves.sum(1, keepdim=True)


def read_sounds(folder: str, count: int) -> Tensor:
    """The beginnings of the first sounds that are long enough and not silent, (at most count, 1, LENGTH).

    Raises:
        BadInput: There is none.
    """
    found: list[Tensor] = []
    for file in find_files(Path(folder), io.SUFFIXES):
        try:
            wave = io.read_sound(file, RATE, 1).wave[:, :LENGTH]
        except BadInput:
            continue
        if wave.shape[-1] == LENGTH and wave.square().mean() > 1e-4:
            found.append(wave)
        if len(found) == count:
            break
    if not found:
        raise BadInput(f"{folder}: no sound has {LENGTH / RATE:.2f} s or more")
    return torch.stack(found)


def in_db(ratio: Tensor) -> float:
    """Median of energy ratios, in dB."""
    return float(10 * torch.log10(ratio.clamp(min=1e-12)).median())


def measure(name: str, sounds: Tensor, iterations: Sequence[int]) -> None:
    """Print one line for each kind of phase and number of iterations."""
    known = torch.ones(len(sounds), 1, LENGTH, dtype=torch.bool)
    known[..., START:END] = False
    whole = dsp.known_frames(known, N_FFT, HOP)
    spectrum = dsp.stft(sounds, N_FFT, HOP)
    magnitude = spectrum.abs()
    phases = {
        "continued": phase_from_magnitude(magnitude, N_FFT, HOP, known=(spectrum.angle(), whole)),
        "apart": phase_from_magnitude(magnitude, N_FFT, HOP),
        "random": None,
    }
    reached = (~whole)[:, :, None].float()
    for kind, phase in phases.items():
        for n in iterations:
            made = dsp.griffin_lim(magnitude, N_FFT, HOP, n, known=(sounds, known), phase=phase)
            made = torch.where(known, sounds, made)
            missed = (dsp.stft(made, N_FFT, HOP).abs() - magnitude).square() * reached
            error = in_db(missed.sum((1, 2, 3)) / (magnitude.square() * reached).sum((1, 2, 3)))
            parts = [ratio(sounds, made, START, START + 256), ratio(sounds, made, 3800, 4200)]
            print(f"{name:<16}{kind:<10}{n:>4} iterations  {error:>7.1f} {parts[0]:>7.1f} {parts[1]:>7.1f}", flush=True)


def ratio(sounds: Tensor, made: Tensor, start: int, end: int) -> float:
    """Signal-to-error ratio of a part, in dB."""
    signal, error = (x[..., start:end].square().sum((1, 2)) for x in (sounds, sounds - made))
    return in_db(signal / error.clamp(min=1e-12))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--iterations", type=int, nargs="+", default=[16, 64])
    args = parser.parse_args(arguments)

    def run() -> None:
        print(f"{'':<42}{'magnitudes':>10} {'begin':>6} {'middle':>6}")
        for name, sounds in [
            ("tones", make_tones(args.count)),
            *((f, read_sounds(f, args.count)) for f in args.folders),
        ]:
            measure(Path(name).name, sounds, args.iterations)

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
