"""Fit few-step sampler plans to a trained run, and store them in its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..util.errors import BadInput
from ..util.limits import MOST_SAMPLES
from ..util.messages import format_command as quoted
from ..util.messages import print_json, print_lines
from ._completion import complete_run, complete_sample_change
from ._paths import PathArgument

if TYPE_CHECKING:
    from ..few_step.calibrate import CalibratedPlan
    from ..few_step.problem import CalibrationProblem
    from ..few_step.reference import ReferenceSolution
    from ..pipeline.pipeline import Pipeline

HELD_OUT = 1_000_003  # offset of the seed for the held-out samples on which plans are measured


@click.command("calibrate")
@click.argument("run", type=PathArgument(), metavar="RUN|CHECKPOINT", shell_complete=complete_run)
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_sample_change)
@click.option(
    "--nfe", default="5,8,10", show_default=True, help="Numbers of denoiser evaluations (NFE), one plan each."
)
@click.option(
    "--count",
    type=click.IntRange(1, MOST_SAMPLES),
    default=64,
    show_default=True,
    help="Number of samples for the fit; the error is measured on the same number of held-out samples.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the samples for the fit.")
@click.option("--forget", is_flag=True, help="Remove all plans from the checkpoint instead.")
@click.option("--allow-code", is_flag=True, help="Run code that the checkpoint's recipe names.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(
    run: Path,
    changes: tuple[str, ...],
    nfe: str,
    count: int,
    seed: int,
    forget: bool,
    allow_code: bool,
    as_json: bool,
) -> None:
    """Fit sampler plans of --nfe evaluations to RUN, and store them in its newest checkpoint.

    Then `sonolux sample RUN steps=5` uses the plan of 5 evaluations, unless it changes the sampler, the timesteps or
    the guidance, or sets calibrated=false. The error of a plan is the root mean square distance of x0 to a reference
    solution with many evaluations, on held-out samples.

    \b
    sonolux calibrate runs/digits
    sonolux calibrate runs/digits guidance.scale=1.5 --nfe 6
    """
    from ..few_step.stored_plans import plan_to_json
    from ..pipeline.load import load
    from ..training.checkpoint import lock_folder, newest_checkpoint, read_header
    from ..util.atomic_replace import reserve_folder
    from ..util.folders import check_kinds

    wanted = _numbers(nfe)
    checkpoint = newest_checkpoint(run)
    _refuse_packaged(checkpoint)
    folder = lock_folder(checkpoint)
    with reserve_folder(folder):
        check_kinds(folder, folders=[checkpoint.parent.name] if folder != checkpoint.absolute().parent else [])
        header = read_header(checkpoint)
        if forget:
            _store(checkpoint, {})
            print_lines(f"{checkpoint}: {len(header.plans)} plans removed")
            return
        plans, printed = dict(header.plans), []
        pipeline = load(checkpoint, changes=changes, allow_code=allow_code)
        for found, figures in _calibrate(pipeline, wanted, count, seed, quiet=as_json):
            plans[found.nfe] = {**figures, "rows": plan_to_json(found.plan)}
            _store(checkpoint, plans)  # each one as it is found, so that an interruption loses only the next
            printed.append(figures)
            if not as_json:
                print_lines(_line(figures))
    if as_json:
        print_json(printed)
    else:
        flag = ["--allow-code"] * allow_code
        same = quoted("sonolux", "sample", run, *changes, f"steps={wanted[0]}", "--out", "few-steps", *flag)
        print_lines(f"stored in {checkpoint}", f"now: {same}")


def _refuse_packaged(checkpoint: Path) -> None:
    """Raise BadInput for the checkpoint of a packaged model, which must not change."""
    from ..training.packaged_models import name_of_packaged_model

    if (name := name_of_packaged_model(checkpoint)) is not None:
        copy = f"{name}.safetensors"
        raise BadInput(
            f"{name} is a packaged model, which stays as it is: copy it, then calibrate the copy: "
            f"{quoted('cp', checkpoint, copy)}; {quoted('sonolux', 'calibrate', copy)}"
        )


def _line(figures: dict[str, Any]) -> str:
    """The errors of a plan in words."""
    return (
        f"{figures['nfe']} evaluations: error {figures['error']:.4g}, {figures['ratio']:.2f} times that of the best "
        f"stock sampler, {figures['stock']}: {figures['stock_error']:.4g}"
    )


def _store(checkpoint: Path, plans: dict[int, Any]) -> None:
    """Replace the plans in a checkpoint."""
    from dataclasses import replace

    from ..training.checkpoint import CheckpointNotSaved, read_header, replace_header

    try:
        replace_header(checkpoint, replace(read_header(checkpoint), plans=plans))
    except CheckpointNotSaved as error:
        raise BadInput(f"{error}: the checkpoint is unchanged; free some disk space or change its rights") from error


def _calibrate(pipeline: Pipeline, wanted: list[int], count: int, seed: int, quiet: bool):
    """Yield (plan, its errors on held-out samples) for every number of evaluations."""
    import torch

    from ..config.spec import to_plain_values
    from ..few_step.calibrate import calibrate_plan
    from ..few_step.reference import solve_reference
    from ..util.progress import progress_bar

    pipeline.to(pipeline.recipe.sample.device)
    for parameter in pipeline.model.parameters():
        parameter.requires_grad_(False)
    fitted, held_out = (pipeline.calibration_problem(count, seed=s) for s in (seed, HELD_OUT + seed))
    with torch.no_grad(), progress_bar("", "plan", len(wanted), show=not quiet, even=False) as done:
        fitted_reference, held_out_reference = (
            solve_reference(
                p, report=lambda share, i=i: done.set_description_str(f"reference solution {i} of 2, {share:.0%}")
            )
            for i, p in enumerate((fitted, held_out), 1)
        )
        for n in wanted:
            found = calibrate_plan(
                fitted,
                n,
                fitted_reference,
                lambda stage, error, n=n: done.set_description_str(f"{n} evaluations, {stage}, error {error:.4g}"),
            )
            figures = _figures(found, held_out, held_out_reference)
            yield found, {**figures, "guidance": to_plain_values(pipeline.recipe.sample.guidance)}
            done.update()


def _figures(found: CalibratedPlan, problem: CalibrationProblem, reference: ReferenceSolution) -> dict[str, Any]:
    from ..few_step.calibrate import multistep_samplers, timestep_spacings

    pair = found.stock
    levels = timestep_spacings()[pair.timesteps].levels(problem.schedule, found.nfe)
    stock = problem.error(
        problem.final_states(multistep_samplers()[pair.sampler].plan(problem.schedule, levels)), reference.x0
    )
    error = problem.error(problem.final_states(found.plan), reference.x0)
    return {
        "nfe": found.nfe,
        "sampler": found.sampler,
        "error": error,
        "stock": f"{pair.sampler} on {pair.timesteps}",
        "stock_error": stock,
        "ratio": error / stock,
    }


def _numbers(text: str) -> list[int]:
    from ..few_step.reference import GRID

    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--nfe takes numbers of evaluations such as 5,8,10, not {text!r}") from None
    if any(n < 2 for n in numbers):
        raise BadInput("--nfe takes numbers of 2 or more: a plan of one evaluation has nothing to calibrate")
    if any(n > GRID for n in numbers):
        raise BadInput(f"--nfe takes numbers up to {GRID}, the grid of the search, not {max(numbers)}")
    return numbers
