"""Compares the settings of `edit recover` on held-out examples of a trained run.

    python benchmarks/recover.py RUN ... [--count 8] [--noise 0.02] [--operators downsample mix] [--set steps=20]

Every operator is applied to each example, and the example is recovered from that without noise, by MMPS with 1 to 10
iterations of conjugate gradients, by PiGDM, and by DPS with several scales.

misfit   rms(A x - y) / noise for the result x: about 1 or below if it agrees with the measurement as far as the noise
         that was stated demands; the largest of the examples is in brackets
file     how far the result is from the example: PSNR in dB of pictures (more is better), log-spectral distance in dB of
         sounds (less is better)
seconds  of all examples together, on this machine
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _bench import exit_code, runs_parser
from sonolux.core.degradations.base import LinearOperator
from sonolux.core.editing.posterior.base import PosteriorGuidance
from sonolux.core.editing.posterior.dps import DPS
from sonolux.core.editing.posterior.mmps import MMPS
from sonolux.core.editing.posterior.pigdm import PiGDM
from sonolux.core.pipeline.edit import recover
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.training.build import build_dataset
from sonolux.core.types import MediaSpec
from torch import Tensor

ITERATIONS = (1, 2, 3, 5, 10)
SCALES = (3.0, 10.0, 30.0, 100.0, 300.0)
METHODS: dict[str, Callable[[], PosteriorGuidance]] = {
    **{f"mmps {n}": lambda n=n: MMPS(n) for n in ITERATIONS},
    "pigdm": PiGDM,
    **{f"dps {scale:g}": lambda scale=scale: DPS(scale) for scale in SCALES},
}


class RecoveryErrors(NamedTuple):
    """Errors of recovered files.

    Attributes:
        misfit: rms(A x - y) / noise, the mean over the files.
        worst: The largest of the files.
        file: PSNR or log-spectral distance, the mean over the files.
    """

    misfit: float
    worst: float
    file: float


def operators(spec: MediaSpec) -> dict[str, Mapping[str, Any]]:
    """Operators with options that fit the media."""
    found: dict[str, Mapping[str, Any]] = {
        "downsample 2": {"use": "downsample", "factor": 2},
        "downsample 4": {"use": "downsample", "factor": 4},
        "low_pass": {"use": "low_pass", "cutoff": 0.15 if spec.rate is None else spec.rate / 8},
        "crop": {"use": "crop", "begin": 0.25, "end": 0.75},
    }
    if spec.channels > 1:
        found["channel_mean"] = {"use": "channel_mean"}
    if spec.rate is not None:
        found["band"] = {"use": "audio/band", "low": spec.rate / 25, "high": spec.rate / 5}
    return found


def psnr(made: Tensor, wanted: Tensor) -> float:
    """PSNR in dB of media from -1 to 1."""
    error = (made.clamp(-1, 1) - wanted).square().mean()
    return float(10 * torch.log10(4 / error.clamp(min=1e-10)))


def log_spectral_distance(made: Tensor, wanted: Tensor) -> float:
    """Root mean square difference of two spectrograms in dB, above 60 dB below the loudest bin of the wanted one."""
    window = torch.hann_window(256)
    power = [torch.stft(s.float(), 256, 64, window=window, return_complex=True).abs() ** 2 for s in (made, wanted)]
    floor = power[1].max() * 1e-6
    first, second = (10 * torch.log10(p + floor) for p in power)
    return float((first - second).square().mean().sqrt())


def errors_of(made: list[Tensor], given: list[Tensor], operator: LinearOperator, noise: float) -> RecoveryErrors:
    """The errors of results for the files that were given."""
    pairs = list(zip(made, given, strict=True))
    misfits = [float((operator.apply((a - b)[None])).square().mean().sqrt()) / noise for a, b in pairs]
    distance = psnr if given[0].ndim == 3 else log_spectral_distance
    count = len(pairs)
    return RecoveryErrors(sum(misfits) / count, max(misfits), sum(distance(a, b) for a, b in pairs) / count)


def write_examples(pipeline: Pipeline, folder: Path, count: int) -> list[Path]:
    """Write the first held-out examples as files."""
    modality, (data, spec) = pipeline.components.modality, build_dataset(pipeline.recipe, "valid")
    items = [data.item(i, None) for i in range(min(count, len(data)))]
    return [
        modality.write(folder / f"{i}{modality.suffix}", spec.trim(item.media, item.length)).path
        for i, item in enumerate(items)
    ]


def measure(run: str, args: Namespace) -> None:
    """Print the table of one run."""
    import sonolux

    pipeline = sonolux.load(run, device="cpu", changes=args.set)
    spec, read = pipeline.components.spec, pipeline.components.modality.read
    with tempfile.TemporaryDirectory() as folder:
        files = write_examples(pipeline, Path(folder), args.count)
        given = [read(file) for file in files]
        print(f"{run} (step {pipeline.step}), {len(files)} files, noise {args.noise:g}")
        print(f"  {'operator':14}{'method':10}{'misfit':>18}{'file':>10}{'seconds':>10}")
        for name, options in operators(spec).items():
            if args.operators and name.split()[0] not in args.operators:
                continue
            for method, make in METHODS.items():
                recover.METHODS["mmps"] = make  # type: ignore[assignment]
                start = time.perf_counter()
                made = pipeline.recover(files, options, noise=args.noise, seed=args.seed, batch=len(files))
                found = errors_of(made.media, given, options_operator(options, spec), args.noise)
                print(
                    f"  {name:14}{method:10}{found.misfit:9.2f} ({found.worst:6.2f}){found.file:10.2f}"
                    f"{time.perf_counter() - start:10.1f}",
                    flush=True,
                )


def options_operator(options: Mapping[str, Any], spec: MediaSpec) -> LinearOperator:
    """The operator of a mapping."""
    from sonolux.core.config.registry import find_class

    cls, rest = find_class("degradation", options["use"]), {k: v for k, v in options.items() if k != "use"}
    return cls(**rest) if options["use"] == "crop" else cls(spec, **rest)


def main() -> None:
    """Print the tables."""
    parser = runs_parser(__doc__, 8, "examples of each run")
    parser.add_argument("--noise", type=float, default=0.02)
    parser.add_argument("--operators", nargs="+", default=[], metavar="NAME")
    args = parser.parse_args()
    for run in args.runs:
        measure(run, args)


if __name__ == "__main__":
    sys.exit(exit_code(main))
