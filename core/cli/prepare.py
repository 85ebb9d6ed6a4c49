"""Analyse a folder of audio or image files: manifest, summary, duplicates, and a suitable recipe."""

from __future__ import annotations

from pathlib import Path

import click

from ._paths import PathArgument


@click.command("prepare")
@click.argument("folder", type=PathArgument())
@click.option("--out", type=PathArgument(), help="Folder for the results.  [default: prepared/NAME-OF-FOLDER]")
@click.option("--modality", help="Kind of the files, such as audio or image; by default detected from the files.")
@click.option("--table", type=PathArgument(), help="CSV, TSV or JSONL with the columns file, label, caption.")
@click.option("--shards", type=click.IntRange(1, 100_000), help="Copy the usable files to so many tar files.")
@click.option("--again", is_flag=True, help="Analyse all files again, also those known from an earlier run.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json.")
def command(
    folder: Path,
    out: Path | None,
    modality: str | None,
    table: Path | None,
    shards: int | None,
    again: bool,
    as_json: bool,
) -> None:
    """Decode every file of FOLDER once and report its contents; nothing in FOLDER is changed.

    Writes manifest.jsonl (one line per file), summary.json, summary.png and recipe.yaml. If the command was stopped,
    run it again to complete it; unchanged files are not analysed again.

    \b
    sonolux prepare path/to/sounds
    sonolux train prepared/sounds/recipe.yaml
    sonolux prepare path/to/sounds --shards 64       # tar files for a network disk or an object store
    """
    from ..data.files import require_folder
    from ..data.prepare.prepare import choose_analyzer, prepare_folder
    from ..util.messages import format_command as quoted
    from ..util.messages import print_lines

    root = require_folder(folder, "FOLDER")
    known = folder_analyzers()
    chosen = _named(modality, known) if modality else choose_analyzer(root, list(known.values()))
    report = prepare_folder(
        root, out or Path("prepared") / root.resolve().name, chosen, table, again, shards=shards or 0
    )
    if as_json:
        print_lines(*(report.folder / "summary.json").read_text(encoding="utf-8").rstrip("\n").split("\n"))
        return
    print_lines(*report.lines)
    names = "manifest.jsonl, summary.json, summary.png" + (f", {shards} shard-*.tar" if shards else "")
    print_lines(f"wrote {report.recipe} and {names} in {report.folder} ({report.summary['seconds_taken']:.1f} s)")
    print_lines(f"now: {quoted('sonolux', 'train', report.recipe)}")


def folder_analyzers() -> dict:
    """Modality -> its `FolderAnalyzer`, for all modalities that have one."""
    from ..config import registry

    classes = {name: registry.find_class("modality", name) for name in registry.component_names("modality")}
    return {name: cls.folder_analyzer() for name, cls in classes.items() if hasattr(cls, "folder_analyzer")}


def _named(modality: str, known: dict):
    from ..util import messages

    if modality not in known:
        messages.raise_bad_input(
            f"--modality {modality}: no such modality can be prepared{messages.did_you_mean(modality, known) or '.'} "
            f"There are: {', '.join(known)}"
        )
    return known[modality]
