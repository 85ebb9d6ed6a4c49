"""Evaluate a run: distances to the real data, memorization, classifier accuracy, defects; with an HTML report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _ranks
from ._completion import complete_run
from ._paths import PathArgument

if TYPE_CHECKING:
    from ..training.distributed import Ranks


@click.command("eval")
@click.argument("run", metavar="RUN|CHECKPOINT", shell_complete=complete_run)
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--folder", type=PathArgument(), metavar="SAMPLES", help="Evaluate these samples instead.")
@click.option(
    "--out",
    type=PathArgument(),
    help="Folder for the report and the samples; default: RUN/eval, or NAME-eval for a packaged model.",
)
@click.option("--overwrite", is_flag=True, help="Replace the report in the folder.")
@_ranks.process_options
@click.option("--allow-code", is_flag=True, help="Run code that the checkpoint's recipe names.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json instead of the table.")
@click.pass_context
def command(context: click.Context, nproc: int | None, timeout: float, **options: Any) -> None:
    """Evaluate samples of RUN, or those in --folder, against the real data of its recipe.

    Writes report.html, metrics.json and the samples. No pretrained weights are needed: the classifier is trained on the
    real data. KEY=VALUE changes data.*, sample.* and eval.*; a key without a section is one of eval. With --folder, RUN
    may be a recipe. A run that was not made here needs the paths of its data again: data.root=FOLDER.

    \b
    sonolux eval runs/digits
    sonolux eval runs/digits --nproc 2                  # two processes share the drawing of the samples
    sonolux eval runs/digits count=200 sample.steps=8 data.root=path/to/digits --out report-8
    sonolux eval runs/digits --folder my-samples feature=./mine.py:Feature --out report-mine
    """
    if (nproc or 1) > 1:
        _ranks.repeat_in_processes(context)
    with _ranks.join(timeout) as ranks:
        _evaluate(ranks, **options)


def _evaluate(
    ranks: Ranks,
    run: str,
    changes: tuple[str, ...],
    folder: Path | None,
    out: Path | None,
    overwrite: bool,
    allow_code: bool,
    as_json: bool,
) -> None:
    """Draw the samples with the other ranks; rank 0 measures them and writes the report."""
    from ..data.files import require_folder
    from ..evaluation.evaluate import evaluate
    from ..evaluation.evaluation_input import open_evaluation_input
    from ..evaluation.generated import draw_share
    from ..evaluation.report import folder as report_folder
    from ..evaluation.report import page, table
    from ..util.atomic_replace import reserve_folder
    from ..util.errors import BadInput
    from ..util.messages import print_lines

    out = default_report_folder(run) if out is None else out
    if folder is not None:
        if ranks.world > 1:
            raise BadInput(
                "several processes share the drawing of samples, and --folder names existing ones: start one"
            )
        require_folder(folder, "--folder")
    if not ranks.writes:
        draw_share(open_evaluation_input(run, changes, sampled=True, allow_code=allow_code), ranks)
        return
    with reserve_folder(out):
        report_folder.check_report_folder(out, overwrite)
        case = open_evaluation_input(run, changes, sampled=folder is None, allow_code=allow_code)
        data = case.recipe.data.params
        read = {f"data.{key}": data.get(key) for key in ("root", "table", "manifest")}
        report_folder.check_no_overlap(
            out, {**read, "--folder": folder, "the run": case.checkpoint, "eval.cache": case.recipe.eval.cache}
        )
        with report_folder.replace_atomically(out) as part:
            report = evaluate(case, part, folder, progress=not as_json, ranks=ranks)
            page.write_report(report, part, case.recipe.eval.page_megabytes)
    path = out / report_folder.PAGE
    if as_json:
        print_lines(*(out / report_folder.METRICS).read_text(encoding="utf-8").rstrip("\n").split("\n"))
    else:
        print_lines(*table.table_lines(report), "", f"{path} and {report_folder.METRICS} in {out}")


def default_report_folder(run: str) -> Path:
    """The folder `eval` in the folder of a run, which is named by itself or by one of its checkpoints.

    For a packaged model, it is `NAME-eval` in the working folder.

    Raises:
        BadInput: `run` is neither.
    """
    from ..training.checkpoint import newest_checkpoint
    from ..training.packaged_models import name_of_packaged_model
    from ..util.errors import BadInput

    if Path(run).suffix in (".yaml", ".yml"):
        raise BadInput(f"--out names the folder for the report: it has no default for a recipe, such as {run}")
    if (name := name_of_packaged_model(run)) is not None:
        return Path(f"{name}-eval")
    folder = newest_checkpoint(Path(run)).parent
    return (folder.parent if folder.name == "checkpoints" else folder) / "eval"
