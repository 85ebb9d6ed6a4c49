"""Whether samples take over the style of a file: runs with a condition `embedding`.

    python benchmarks/style.py RUN ... [--count 40] [--set guidance.scale=2] [--sheet sheet.png]

Held-out examples are the files; one sample is made for each. The features of samples and files are those of the
condition, standardised as in the run.

found      samples whose own file is the nearest of all files; by chance 1 in `count`
distance   mean distance of a sample to its own file, divided by that to the other files; 1: nothing is taken over
copies     the smallest root mean square difference of a sample and its file: near 0, the file itself was returned
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import torch
from _bench import Table, draw_side_by_side, print_tables, runs_parser
from recover import write_examples
from sonolux.core.conditioning.embedding import Embedding
from sonolux.core.evaluation.intervals import wilson_interval
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.types import BadInput
from torch import Tensor


class StyleFigures(NamedTuple):
    """How near samples are to the files that they were made for.

    Attributes:
        found: Share of samples whose own file is the nearest.
        distance: Distance to the own file, divided by that to the others.
    """

    found: float
    distance: float


def style_of(pipeline: Pipeline) -> tuple[str, Embedding]:
    """The condition `embedding` of a run and its name.

    Raises:
        BadInput: It has none.
    """
    for name, condition in pipeline.model.conditions.items():
        if isinstance(condition, Embedding):
            return name, condition
    raise BadInput("the run was trained without a condition `embedding`: this benchmark requires one")


def compare_styles(samples: Tensor, files: Tensor) -> StyleFigures:
    """Compare features of samples (N, d) with those of the file of each (N, d), standardised."""
    distances = torch.cdist(samples, files)  # (sample, file)
    own = torch.eye(len(files), dtype=torch.bool)
    found = (distances.argmin(1) == torch.arange(len(files))).double().mean()
    return StyleFigures(float(found), float(distances[own].mean() / distances[~own].mean()))


def measure(run: str, args: Namespace) -> Table:
    """The measurements of one run."""
    import sonolux

    pipeline = sonolux.load(run, device="cpu", changes=args.set)
    name, condition = style_of(pipeline)
    with tempfile.TemporaryDirectory() as folder:
        files = write_examples(pipeline, Path(folder), args.count)
        if len(files) < 2:
            raise BadInput("styles are compared between files: this benchmark requires 2 held-out examples or more")
        given = [pipeline.components.modality.read(file) for file in files]
        paths = [str(file) for file in files]
        made = pipeline.sample(count=len(files), seed=args.seed, conditions={name: paths}, progress=True).media
    mean, scale = condition.mean.cpu(), condition.scale.cpu()
    features = [(torch.as_tensor(condition.features(media)) - mean) / scale for media in (made, given)]
    figures = compare_styles(features[0].double(), features[1].double())
    table = Table(f"{run} (step {pipeline.step}), {len(files)} held-out files, seed {args.seed}")
    low, high = wilson_interval(figures.found, len(files))
    table.add("found", figures.found, "{:.1%}", f"{low:.1%} to {high:.1%}; by chance {1 / len(files):.1%}")
    table.add("distance", figures.distance, "{:.3f}")
    lengths = [min(a.shape[-1], b.shape[-1]) for a, b in zip(made, given, strict=True)]
    apart = [(a[..., :n] - b[..., :n]).square().mean().sqrt() for a, b, n in zip(made, given, lengths, strict=True)]
    table.add("copies", float(torch.stack(apart).min()), "{:.3f}")
    if args.sheet:
        draw_side_by_side(pipeline.components.modality, args.sheet, {"file": given, "sample": made}, 12)
    return table


def main() -> int:
    """Measure every run."""
    parser = runs_parser(__doc__, 40, "held-out files of each run")
    parser.add_argument("--sheet", help="PNG file: the first 12 files and their samples")
    args = parser.parse_args()

    return print_tables(args.runs, lambda run: measure(run, args))


if __name__ == "__main__":
    sys.exit(main())
