"""Generate new samples with a trained run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _ranks
from ._completion import complete_run, complete_sample_change
from ._paths import PathArgument, result_folder

if TYPE_CHECKING:
    from ..training.distributed import Ranks


@click.command("sample")
@click.argument("run", type=PathArgument(), metavar="RUN|CHECKPOINT", shell_complete=complete_run)
@click.argument("words", nargs=-1, metavar="[PROMPT]... [KEY=VALUE]...", shell_complete=complete_sample_change)
@click.option("--out", type=PathArgument(), help="Folder for the samples; default for a packaged model: NAME-samples.")
@click.option("--trajectory", is_flag=True, help="Also write the denoising trajectory, as a strip and a GIF.")
@click.option("--overwrite", is_flag=True, help="Replace the samples in the folder.")
@_ranks.process_options
@click.option("--allow-code", is_flag=True, help="Run code that the checkpoint's recipe names.")
@click.option("--json", "as_json", is_flag=True, help="Print samples.json.")
@click.pass_context
def command(context: click.Context, nproc: int | None, timeout: float, **options: Any) -> None:
    """Sample RUN (its newest checkpoint) with the settings of its recipe; KEY=VALUE changes them.

    RUN may also be the name of a packaged model, see `sonolux models`.

    A model with a text condition takes prompts, each in quotes, or prompts=FILE with one on each line, and
    negative="...". A prompt that looks like KEY=VALUE is written prompt="...", and several prompt='["...", "..."]'.

    \b
    sonolux sample runs/digits label=3 count=8 seed=1 --out threes
    sonolux sample runs/digits use=heun steps=18 guidance.scale=3 --out out
    sonolux sample runs/effects seconds=0.4 --out short
    sonolux sample runs/shapes "a small red circle" "a blue square" count=8 --out drawn
    sonolux sample runs/digits count=1000 --nproc 2     # the same samples; two processes share the batches
    """
    if (nproc or 1) > 1:
        _ranks.repeat_in_processes(context)
    with _ranks.join(timeout) as ranks:
        _sample(ranks, **options)


def _sample(
    ranks: Ranks,
    run: Path,
    words: tuple[str, ...],
    out: Path | None,
    trajectory: bool,
    overwrite: bool,
    allow_code: bool,
    as_json: bool,
) -> None:
    """Sample with the other ranks; rank 0 writes the samples."""
    from ..pipeline.load import load
    from ..pipeline.result import check_sample_folder
    from ..util.atomic_replace import reserve_folder
    from ..util.messages import format_count, print_lines

    out = result_folder(run, out, "samples")
    with reserve_folder(out) if ranks.writes else nullcontext():
        if ranks.writes:
            check_sample_folder(out, overwrite)
        texts, changes = _sorted(words)
        pipeline = load(run, "auto" if ranks.world == 1 else "cpu", changes, allow_code)
        pipeline.to(ranks.choose_device(pipeline.recipe.sample.device, "sample.device"))
        pipeline.ranks = ranks
        if "prompt" in texts:
            _check_prompts(pipeline.model, words)
        samples = pipeline.sample(progress=not as_json, trajectory=trajectory, **texts)
        ranks.leave()  # the others do not wait for what rank 0 writes
        if not ranks.writes:
            return
        paths = samples.save(out, trajectory, overwrite=True)
    if as_json:
        print_lines(*(out / "samples.json").read_text(encoding="utf-8").rstrip("\n").split("\n"))
    else:
        print_lines(f"{format_count(len(paths), 'sample')}, samples.json and sheet.png in {out}")


def _sorted(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Sort arguments into prompts, which are taken as they are written, and changes of the recipe.

    Raises:
        BadInput: The file of prompts cannot be read.
    """
    from ..pipeline.prompts import read_prompt_file

    prompts: list[str] = []
    texts: dict[str, Any] = {}
    changes: list[str] = []
    for word in words:
        key = match[1].removeprefix("sample.") if (match := _CHANGE.match(word)) else ""
        value = word.partition("=")[2]
        if not key or key == "prompt":
            prompts += _listed(value) if key else [word]
        elif key == "prompts":
            prompts += read_prompt_file(Path(value))
        elif key == "negative":
            texts["negative"] = value
        else:
            changes.append(word)
    if prompts:
        texts["prompt"] = prompts[0] if len(prompts) == 1 else prompts
    return texts, changes


def _listed(value: str) -> list[str]:
    """The prompts of `prompt=VALUE`: those of a list of texts, as in a recipe, or the value itself."""
    import yaml

    try:
        found = yaml.safe_load(value) if value.startswith("[") else value
    except yaml.YAMLError:
        return [value]
    return found if isinstance(found, list) and found and all(isinstance(one, str) for one in found) else [value]


def _check_prompts(model: Any, words: Sequence[str]) -> None:
    """Raise BadInput if the model takes no prompts: a word may be a change without its `=`."""
    from ..pipeline.conditions import require_text_condition
    from ..types import BadInput
    from ..util.messages import shorten

    try:
        require_text_condition(model)
    except BadInput as error:
        first = next((word for word in words if not _CHANGE.match(word)), None)
        if first is None:  # the prompts are marked as such
            raise
        raise BadInput(f"command line: {shorten(first, 40)}: expected key=value, such as steps=30; {error}") from error


_CHANGE = re.compile(r"\s*([\w.-]+)\s*=")  # the key of a change
