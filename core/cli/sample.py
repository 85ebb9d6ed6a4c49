"""Generate new samples with a trained run."""

from __future__ import annotations

from pathlib import Path

import click

from ._paths import PathArgument


@click.command("sample")
@click.argument("run", type=PathArgument(), metavar="RUN|CHECKPOINT")
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=PathArgument(), required=True, help="Folder for the samples.")
@click.option("--trajectory", is_flag=True, help="Also write the denoising trajectory, as a strip and a GIF.")
@click.option("--overwrite", is_flag=True, help="Replace the samples in the folder.")
@click.option("--allow-code", is_flag=True, help="Run code that the checkpoint's recipe names.")
@click.option("--json", "as_json", is_flag=True, help="Print samples.json.")
def command(
    run: Path, changes: tuple[str, ...], out: Path, trajectory: bool, overwrite: bool, allow_code: bool, as_json: bool
) -> None:
    """Sample RUN (its newest checkpoint) with the settings of its recipe; KEY=VALUE changes them.

    \b
    sonolux sample runs/digits label=3 count=8 seed=1 --out threes
    sonolux sample runs/digits use=heun steps=18 guidance.scale=3 --out out
    sonolux sample runs/effects seconds=0.4 --out short
    """
    from ..pipeline.load import load
    from ..pipeline.result import check_sample_folder
    from ..util.atomic_replace import reserve_folder
    from ..util.messages import format_count, print_lines

    with reserve_folder(out):
        check_sample_folder(out, overwrite)
        pipeline = load(run, changes=changes, allow_code=allow_code)
        pipeline.to(pipeline.recipe.sample.device)
        samples = pipeline.sample(progress=not as_json, trajectory=trajectory)
        paths = samples.save(out, trajectory, overwrite=True)
    if as_json:
        print_lines(*(out / "samples.json").read_text(encoding="utf-8").rstrip("\n").split("\n"))
    else:
        print_lines(f"{format_count(len(paths), 'sample')}, samples.json and sheet.png in {out}")
