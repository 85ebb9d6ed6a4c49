"""Train a model from a recipe, into a run folder."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.command("train")
@click.argument("recipe", required=False)
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/NAME]")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue a run from its newest checkpoint."
)
@click.option(
    "--from", "weights", type=click.Path(path_type=Path), metavar="CHECKPOINT", help="Initialize with these weights."
)
@click.option("--overwrite", is_flag=True, help="Replace the run in the folder.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    recipe: str | None,
    changes: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    weights: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train RECIPE (a file, or the name of an included recipe) into a run folder.

    \b
    sonolux train digits data.root=path/to/digits train.minutes=5
    sonolux train --resume runs/digits
    """
    from ..config.load import load_recipe
    from ..pipeline.preview import Previews
    from ..training.checkpoint import newest
    from ..training.run import TrainingRun
    from ..util.errors import BadInput

    checkpoint = None
    if resume is not None:
        if recipe is not None and "=" in recipe:
            recipe, changes = None, (recipe, *changes)
        if recipe is not None or out is not None or weights is not None or overwrite:
            raise BadInput(
                "--resume RUN uses the recipe of the run: it takes no other arguments except train.* changes"
            )
        if not resume.is_dir():
            raise BadInput(f"{resume}: --resume takes a run folder")
        keys = {change: change.partition("=")[0] for change in changes}
        other = ("train.optimizer", "train.optimizer.use")  # the saved optimizer state would not fit
        if invalid := [c for c, key in keys.items() if not key.startswith("train.") or key in other]:
            raise BadInput(
                f"--resume keeps the run's recipe; {invalid[0]!r} would change it: only train.* may change, and of the "
                "optimizer its parameters; --from CHECKPOINT starts a new run from the weights"
            )
        checkpoint, out = newest(resume), resume
        loaded = load_recipe(str(resume / "resolved.yaml"), list(changes))
    elif recipe is None:
        raise BadInput("which recipe? `sonolux recipe list` lists the included ones")
    else:
        loaded = load_recipe(recipe, list(changes))
    run = TrainingRun(loaded, out or Path("runs") / loaded.name, click.echo, not quiet, [Previews(loaded)])
    run.prepare(checkpoint, newest(weights) if weights else None, overwrite)
    for line in run.describe():
        click.echo(line)
    try:
        path = run.run()
    except KeyboardInterrupt as e:
        click.echo(str(e) or "interrupted; the last checkpoint is kept", err=True)
        raise SystemExit(130) from None
    folder, samples = (shlex.quote(str(p)) for p in (run.folder.path, run.folder.path / "samples"))
    click.echo(f"done: {path}\nnow: sonolux sample {folder} --out {samples}")
