"""Compare settings of one recipe: equal steps or equal time, the same seeds, and an interval for each difference."""

from __future__ import annotations

from pathlib import Path

import click

from ..util.limits import MOST_SAMPLES
from ._completion import complete_change, complete_recipe
from ._paths import PathArgument


@click.command("ablate")
@click.argument("recipe", shell_complete=complete_recipe)
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_change)
@click.option("--vary", multiple=True, required=True, metavar="KEY=A,B", help="Values of a key; repeat for other keys.")
@click.option("--seeds", type=click.IntRange(1, 1000), required=True, help="Runs of each combination; 3 or more.")
@click.option("--steps", type=int, help="Length of each run in optimiser steps.")
@click.option("--minutes", type=float, help="Length of each run in minutes of training, instead of --steps.")
@click.option("--out", type=PathArgument(), required=True, help="Folder for ablation.json and ablation.md.")
@click.option("--eval", "samples", type=click.IntRange(8, MOST_SAMPLES), help="Also measure this many samples.")
@click.option("--resume", is_flag=True, help="Continue in the folder; --seeds may be larger than before.")
@click.option("--allow-code", is_flag=True, help="Run code that a recipe which RECIPE extends names.")
@click.option("--json", "as_json", is_flag=True, help="Print ablation.json instead of the table.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    recipe: str,
    changes: tuple[str, ...],
    vary: tuple[str, ...],
    seeds: int,
    steps: int | None,
    minutes: float | None,
    out: Path,
    samples: int | None,
    resume: bool,
    allow_code: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train RECIPE with every combination of the varied values, and compare each with the first.

    Runs with the same seed have the same data in the same order and the same noise, and are trained in turn in short
    slices. They are compared by the error of the averaged weights on held-out examples; see docs/evaluation.md.

    \b
    sonolux ablate digits --vary train.optimizer=adamw,muon --seeds 3 --steps 500 --out ablation
    sonolux ablate digits --vary train.batch=32,64 --vary train.ema.half_life=200,500 --seeds 4 --minutes 2 --out sizes
    """
    from ..evaluation.ablation.ablation import Ablation
    from ..evaluation.ablation.arms import build_arms
    from ..util.errors import BadInput
    from ..util.messages import print_json, print_lines
    from . import _output

    _output.ignore_closed_output()
    if (steps is None) == (minutes is None):
        raise BadInput("give --steps N or --minutes M: the length of each run")
    length = f"train.steps={steps}" if minutes is None else f"train.minutes={minutes}"
    ablation = Ablation(build_arms(recipe, vary, changes, length, allow_code), samples or 0)
    ablation.run(seeds, out, resume, lambda text: print_lines(text, err=as_json), not quiet and not as_json)
    if as_json:
        print_json(ablation.to_dict())
    else:
        print_lines("", *ablation.table_lines())
