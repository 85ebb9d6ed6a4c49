"""Find the best few steps for one trained run, and keep them in its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..util.errors import BadInput

if TYPE_CHECKING:
    from ..few_step.calibrate import Calibrated
    from ..few_step.problem import CalibrationProblem
    from ..few_step.reference import FineSolution

HELD = 1_000_003  # seed of the starts that a plan is measured on and was not fitted to


@click.command("calibrate")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN|CHECKPOINT")
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--nfe", default="5,8,10", show_default=True, help="Numbers of evaluations to find plans for.")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Samples that plans are fitted on; as many are held out.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the samples that plans are fitted on.")
@click.option("--forget", is_flag=True, help="Take the plans out of the checkpoint instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(run: Path, changes: tuple[str, ...], nfe: str, count: int, seed: int, forget: bool, as_json: bool) -> None:
    """Fit plans of --nfe evaluations to RUN against a fine solution, and store them in its newest checkpoint.

    Then `sonolux sample RUN steps=5` uses the plan of 5, unless it names another sampler or spacing, or another
    guidance than the plan was fitted with, or says calibrated=false. Errors are root mean square distances of x0 to the
    fine solution's, on samples held out.

    \b
    sonolux calibrate runs/digits
    sonolux calibrate runs/digits guidance.scale=1.5 --nfe 6
    """
    from dataclasses import replace

    from ..few_step.stored import to_plain
    from ..training.checkpoint import newest, read_header, relabel

    wanted = _numbers(nfe)
    checkpoint = newest(run)
    header = read_header(checkpoint)
    if forget:
        relabel(checkpoint, replace(header, plans={}))
        click.echo(f"{checkpoint}: {len(header.plans)} plans taken out")
        return
    plans, printed = dict(header.plans), []
    for found, figures in _found(checkpoint, changes, wanted, count, seed, quiet=as_json):
        plans[found.nfe] = {**figures, "rows": to_plain(found.plan)}
        printed.append(figures)
        if not as_json:
            click.echo(
                f"{found.nfe} evaluations: error {figures['error']:.4g}; best stock, {found.stock.sampler} on "
                f"{found.stock.spacing}: {figures['stock_error']:.4g} ({figures['ratio']:.2f} times)"
            )
    relabel(checkpoint, replace(header, plans=plans))
    if as_json:
        click.echo(json.dumps(printed, indent=1))
    else:
        same = " ".join([str(run), *changes, f"steps={wanted[0]}"])
        click.echo(f"stored in {checkpoint}\nnow: sonolux sample {same} --out few-steps")


def _found(checkpoint: Path, changes: tuple[str, ...], wanted: list[int], count: int, seed: int, quiet: bool):
    """(plan, its figures on samples held out) for every number of evaluations."""
    import torch

    from ..config.spec import plain
    from ..few_step.calibrate import calibrate
    from ..few_step.reference import solve_finely
    from ..pipeline.load import load
    from ..util.progress import bar

    pipeline = load(checkpoint, changes=changes)
    pipeline.to(pipeline.recipe.sample.device)
    for parameter in pipeline.model.parameters():
        parameter.requires_grad_(False)
    mine, held = (pipeline.calibration_problem(count, seed=s) for s in (seed, HELD + seed))
    with torch.no_grad(), bar("fine solution", "plan", 2 + len(wanted), show=not quiet) as done:
        fine = solve_finely(mine)
        done.update()
        truth = solve_finely(held)
        done.update()
        for n in wanted:
            found = calibrate(
                mine, n, fine, lambda stage, error, n=n: done.set_description_str(f"{n}: {stage} {error:.4g}")
            )
            yield found, {**_figures(found, held, truth), "guidance": plain(pipeline.recipe.sample.guidance)}
            done.update()


def _figures(found: Calibrated, held: CalibrationProblem, truth: FineSolution) -> dict[str, Any]:
    from ..few_step.calibrate import multistep_samplers, timestep_spacings

    pair = found.stock
    levels = timestep_spacings()[pair.spacing].levels(held.schedule, found.nfe)
    stock = held.error(held.end(multistep_samplers()[pair.sampler].plan(held.schedule, levels)), truth.x0)
    own = held.error(held.end(found.plan), truth.x0)
    return {
        "nfe": found.nfe,
        "sampler": found.sampler,
        "error": own,
        "stock": f"{pair.sampler} on {pair.spacing}",
        "stock_error": stock,
        "ratio": own / stock,
    }


def _numbers(text: str) -> list[int]:
    from ..few_step.reference import GRID

    try:
        made = [int(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--nfe takes numbers of evaluations such as 5,8,10, not {text!r}") from None
    if any(n < 2 for n in made):
        raise BadInput("--nfe takes numbers of 2 or more: a plan of one evaluation leaves nothing to choose")
    if any(n > GRID for n in made):
        raise BadInput(f"--nfe takes numbers up to {GRID}, the levels that times are searched for on, not {max(made)}")
    return made
