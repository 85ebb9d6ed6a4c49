"""Train a model from a recipe, into a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _ranks
from ._completion import complete_change, complete_recipe, complete_run, complete_run_folder
from ._paths import PathArgument

if TYPE_CHECKING:
    from ..config.recipe import Recipe
    from ..training.distributed import Ranks
    from ..training.run import TrainingRun


@click.command("train")
@click.argument("recipe", required=False, shell_complete=complete_recipe)
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_change)
@click.option("--out", type=PathArgument(), help="Run folder.  [default: runs/NAME]")
@click.option(
    "--resume",
    type=PathArgument(),
    metavar="RUN",
    shell_complete=complete_run_folder,
    help="Continue a run from its newest checkpoint.",
)
@click.option(
    "--from",
    "weights",
    type=PathArgument(),
    metavar="CHECKPOINT",
    shell_complete=complete_run,
    help="Initialize with these weights, of a run or a packaged model.",
)
@click.option("--overwrite", is_flag=True, help="Replace the run in the folder.")
@click.option("--auto-resume", is_flag=True, help="Continue the run in the folder if it has a checkpoint, or start it.")
@_ranks.process_options
@click.option("--allow-code", is_flag=True, help="Run code that a recipe which RECIPE extends, or that of RUN, names.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be trained and written, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print JSON.")
@click.pass_context
def command(context: click.Context, nproc: int | None, **options: Any) -> None:
    """Train RECIPE (a file, or the name of an included recipe) into a run folder.

    \b
    sonolux train digits data.root=path/to/digits train.minutes=5
    sonolux train digits --nproc 2                                  # two processes share each batch
    sonolux train digits data.root=path/to/digits --dry-run         # nothing is trained or written
    sonolux train --resume runs/digits
    sonolux train --resume copy-of-a-run data.root=path/to/digits   # a run that was moved, or made by others
    """
    if options["as_json"] and not options["dry_run"]:
        raise click.UsageError("--json needs --dry-run; `sonolux watch RUN --json` prints the state of a run")
    if options["dry_run"] and nproc is not None:
        from ..training.distributed import Ranks

        _train(Ranks(0, nproc), **{name: value for name, value in options.items() if name != "timeout"})
        return
    if (nproc or 1) > 1:
        _ranks.repeat_in_processes(context)
    with _ranks.join(options.pop("timeout")) as ranks:
        _train(ranks, **options)


def _train(
    ranks: Ranks,
    recipe: str | None,
    changes: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    weights: Path | None,
    overwrite: bool,
    auto_resume: bool,
    allow_code: bool,
    quiet: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from ..config.load import load_recipe
    from ..pipeline.examples import find_references
    from ..pipeline.preview import PreviewCallback
    from ..training.checkpoint import newest_checkpoint
    from ..training.packaged_models import name_of_packaged_model
    from ..training.run import TrainingRun
    from ..util.errors import BadInput
    from ..util.messages import format_command as quoted
    from ..util.messages import print_lines, shorten
    from . import _output

    _output.ignore_closed_output()
    checkpoint, moved = None, False
    if resume is not None:
        if recipe is not None and "=" in recipe:
            recipe, changes = None, (recipe, *changes)
        given = {recipe: recipe, "--out": out, "--from": weights, "--overwrite": overwrite}
        if other := next((shorten(name) for name, value in given.items() if name and value), ""):
            raise BadInput(
                f"--resume RUN goes on in the run's folder with its recipe: leave {other} out; only train.* and paths "
                "may change"
            )
        if not resume.is_dir():
            packaged = name_of_packaged_model(resume) is not None
            hint = f"; a packaged model is continued in a new run: RECIPE --from {resume}" if packaged else ""
            raise BadInput(f"{resume}: --resume takes a run folder{hint}")
        moved = any(change.startswith("data.") for change in changes)
        checkpoint, out = newest_checkpoint(resume), resume
        loaded = _resumed(resume, changes, allow_code)
    elif recipe is None:
        raise BadInput("which recipe? `sonolux recipe list` lists the included ones")
    else:
        loaded = load_recipe(recipe, list(changes), allow_code=allow_code)
    folder = out or Path("runs") / loaded.name
    if auto_resume:
        checkpoint = checkpoint or _checkpoint_to_continue(loaded, folder, overwrite)
    checkpoint = Path(chosen) if (chosen := ranks.share(checkpoint and str(checkpoint))) else None
    run = TrainingRun(
        loaded, folder, print_lines, not quiet, [PreviewCallback(loaded)], announce=print_lines, ranks=ranks
    )
    started_from = newest_checkpoint(weights) if weights and checkpoint is None else None
    if dry_run:
        _print_plan(run, as_json, resume=checkpoint, weights=started_from, overwrite=overwrite, moved=moved)
        return
    run.prepare(checkpoint, started_from, overwrite, moved)
    try:
        if not run.finished:
            print_lines(*run.describe())
        path = run.run()
    finally:
        run.close()
    if run.finished:
        return
    folder, flag = run.folder.path, ["--allow-code"] * loaded.names_code()
    edits = [found.edit for found in find_references(run.parts.model).values() if found.drop == 0]
    words = ["edit", folder, edits[0], "FILE"] if edits else ["sample", folder]
    print_lines(f"done: {path}", f"now: {quoted('sonolux', *words, '--out', folder / 'samples', *flag)}")


def _print_plan(run: TrainingRun, as_json: bool, **options: Any) -> None:
    """Print what the training would do."""
    from ..training.dry_run import plan_training
    from ..util.messages import print_json, print_lines

    plan = plan_training(run, **options)
    if as_json:
        print_json(plan.to_dict())
    else:
        print_lines(*plan.lines())


def _checkpoint_to_continue(recipe: Recipe, folder: Path, overwrite: bool) -> Path | None:
    """The newest checkpoint of the run in a folder, which must have the same recipe; None if none was saved."""
    from ..training.checkpoint import newest_checkpoint
    from ..util.errors import BadInput

    if overwrite:
        raise BadInput("--auto-resume continues the run in the folder, and --overwrite replaces it: give one of them")
    if not any((folder / "checkpoints").glob("step-*.safetensors")):
        return None
    try:
        same = (folder / "resolved.yaml").read_text(encoding="utf-8") == recipe.dump()
    except (OSError, UnicodeError):
        same = False
    if not same:
        raise BadInput(
            f"{folder} holds a run of another recipe: continue it with --resume {folder}, replace it with --overwrite, "
            "or name another folder with --out"
        )
    return newest_checkpoint(folder)


def _resumed(run: Path, changes: Sequence[str], allow_code: bool) -> Recipe:
    """The recipe of a run that is continued, with changes.

    Raises:
        BadInput: A change is neither in `train` nor a path; or the run was not made here, and names paths that are not
            given again.
    """
    from ..config.load import load_run_recipe
    from ..util.errors import BadInput

    keys = {change: change.partition("=")[0].strip() for change in changes}
    other = ("train.optimizer", "train.optimizer.use")  # the saved optimizer state would not fit
    kept = [c for c, key in keys.items() if not key.startswith("train.") or key in other]
    paths = load_run_recipe(run, (), allow_code=allow_code, resume=True).paths() if kept else {}
    if invalid := [c for c in kept if keys[c] not in paths]:
        raise BadInput(
            f"--resume keeps the run's recipe; {invalid[0]!r} would change it: only train.* and paths may change, and "
            "of the optimizer its parameters; --from CHECKPOINT starts a new run from the weights"
        )
    recipe = load_run_recipe(run, changes, allow_code=allow_code, resume=True)
    recipe.refuse_unconfirmed(*(name for name in type(recipe).model_fields if name != "eval"))
    return recipe
