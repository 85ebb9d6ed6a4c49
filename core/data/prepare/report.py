"""The report on a prepared folder: summary.json, the printed lines and the proposed recipe."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ...util.atomic_replace import write_text_file
from ...util.errors import BadInput
from ...util.json_files import StoredRecord, read_json
from ..captions import format_caption_share, sidecar_of
from ..files import find_files, format_path
from ..manifest import ManifestLine
from .types import FolderAnalyzer, MediaSummary, PrepareReport, RecipeProposalContext

PROPOSED, SUMMARY = "recipe.proposed.yaml", "summary.json"


def format_suffix_counts(paths: Sequence[Path]) -> str:
    """Number of files by suffix, as text for a message."""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in paths).most_common(4)
    return ", ".join(f"{n} file{'s' if n > 1 else ''} with {suffix}" for suffix, n in kinds)


def format_skip_reasons(lines: Sequence[ManifestLine], most: int = 6) -> str:
    """Why files were skipped, as text: most frequent reasons first, each with its first files."""
    by: dict[str, list[str]] = {}
    for line in lines:
        if line["status"] != "ok":
            by.setdefault(line["reason"], []).append(line["file"])
    parts = sorted(by.items(), key=lambda item: -len(item[1]))
    texts = [f"{why}: {', '.join(who[:3])}{f' and {len(who) - 3} more' if len(who) > 3 else ''}" for why, who in parts]
    return "; ".join(texts[:most]) + (f"; and {len(texts) - most} other reasons" if len(texts) > most else "")


def summary_entries(
    root: Path,
    analyzer: FolderAnalyzer,
    lines: list[ManifestLine],
    pairs: list[tuple[str, str, float]],
    table: Path | None,
) -> dict[str, Any]:
    """The entries of summary.json that every modality has."""
    listed = {*analyzer.suffixes, *analyzer.foreign}
    folders: list[tuple[Path, str]] = []
    paths = [] if table else find_files(root, None, folders)
    sidecars = {sidecar_of(p) for p in paths if p.suffix.casefold() in listed}
    others = [p for p in paths if p.suffix.casefold() not in listed and p not in sidecars]
    good = [line for line in lines if line["status"] == "ok"]
    classes = Counter(line["label"] for line in good if line["label"] is not None)
    exact: dict[str, list[str]] = {}
    for line in good:
        exact.setdefault(line.get("copy_of") or line["file"], []).append(line["file"])
    return {
        "modality": analyzer.modality,
        "root": str(root),
        "files": len(lines),
        "usable": len(good),
        "skipped": len(lines) - len(good),
        "reasons": dict(Counter(line["reason"] for line in lines if line["status"] != "ok").most_common()),
        "other_files": dict(Counter(p.suffix.lower() or "no suffix" for p in others).most_common()),
        "skipped_folders": [{"folder": format_path(folder, root), "reason": reason} for folder, reason in folders],
        "bytes": sum(line["size"] for line in good),
        "classes": dict(classes),
        "without_class": sum(line["label"] is None for line in good) if classes else 0,
        "captions": sum(line["caption"] is not None for line in good),
        "exact_copies": [files for files in exact.values() if len(files) > 1],
        "near_copies": [{"files": [a, b], "likeness": similarity} for a, b, similarity in pairs],
    }


def report_lines(
    root: Path,
    analyzer: FolderAnalyzer,
    facts: dict[str, Any],
    summary: MediaSummary,
    pairs: Sequence[Any],
    lines: Sequence[ManifestLine],
) -> list[str]:
    """The printed lines: counts, skipped files, the modality's summary, classes and copies."""
    total, good, others = facts["files"], facts["usable"], facts["other_files"]
    kept = f", {facts['kept']} from an earlier run" if facts["kept"] else ""
    rows = [f"{format_path(root)}: {good} of {total} {analyzer.nouns[1]} usable{kept}"]
    if good < total:
        rows.append(f"  skipped     {total - good}: {format_skip_reasons(lines)}")
    if others:
        rows.append(f"  not read    {', '.join(f'{n} {suffix}' for suffix, n in list(others.items())[:6])}")
    if folders := facts["skipped_folders"]:
        some = ", ".join(f"{folder['folder']} {folder['reason']}" for folder in folders[:3])
        rows.append(
            f"  skipped     {len(folders)} folder{'s' * (len(folders) > 1)}: {some}{' ...' * (len(folders) > 3)}"
        )
    rows += [*summary.lines, _classes(facts)]
    if facts["captions"]:
        captions = [line["caption"] for line in lines if line["status"] == "ok"]
        rows.append(f"  captions    {format_caption_share(captions, 'files')}")
    else:
        tables = sorted(p for p in root.glob("captions.*") if p.suffix.casefold() in (".csv", ".tsv", ".jsonl"))
        hint = f"; those of a table: --table {shlex.quote(format_path(tables[0]))}" if tables else ""
        rows.append(f"  captions    none{hint}")
    exact = sum(len(files) - 1 for files in facts["exact_copies"])
    if exact:
        some = "; ".join(" = ".join(files[:4]) for files in facts["exact_copies"][:3])
        rows.append(f"  copies      {exact} exact: {some}{' ...' if len(facts['exact_copies']) > 3 else ''}")
    if pairs:
        some = "; ".join(f"{a} ~ {b} ({s:.2f})" for a, b, s in pairs[:3])
        rows.append(
            f"  near copies {len(pairs)} pair{'s' * (len(pairs) > 1)}: {some}{' ...' if len(pairs) > 3 else ''}"
        )
    if not exact and not pairs:
        rows.append("  copies      none")
    return rows


def _classes(facts: dict[str, Any]) -> str:
    sizes: dict[str, int] = facts["classes"]
    if not sizes:
        return "  classes     none: no file is in a class folder"
    few = sorted(sizes.items(), key=lambda item: item[1])[:3]
    rest = f"; {facts['without_class']} files have none" if facts["without_class"] else ""
    smallest = ", ".join(f"{name} {n}" for name, n in few)
    spread = f"{min(sizes.values())} to {max(sizes.values())} files"
    return f"  classes     {len(sizes)} of {spread} (smallest: {smallest}){rest}"


class StoredPair(StoredRecord):
    """A pair of near copies in summary.json."""

    files: tuple[str, str]
    likeness: float


class StoredSummary(StoredRecord):
    """What a later run uses of summary.json."""

    recipe_sha256: str | None = None
    near_copies: list[StoredPair] | None = None


_SUMMARY = TypeAdapter(StoredSummary)


def read_stored_summary(out: Path) -> StoredSummary:
    """The summary of an earlier run; empty if there is none, or if it is damaged: then all is computed again."""
    try:
        return read_json(out / SUMMARY, _SUMMARY)
    except BadInput:
        return StoredSummary()


def write_proposed_recipe(
    analyzer: FolderAnalyzer,
    good: list[ManifestLine],
    context: RecipeProposalContext,
    report: PrepareReport,
    part: Path,
) -> None:
    """Write the proposed recipe; if the user has changed an earlier one, write to recipe.proposed.yaml instead.

    Args:
        analyzer: The modality's part.
        good: The usable lines.
        context: Where the recipe will be.
        report: The report, which is completed.
        part: Folder that the file is written to; its files are then moved to the folder of the report.
    """
    proposal = analyzer.propose(good, context)
    mark = hashlib.sha256(proposal.text.encode()).hexdigest()
    last = read_stored_summary(report.folder).recipe_sha256
    there = context.recipe.read_bytes() if context.recipe.exists() else None
    edited = there is not None and hashlib.sha256(there).hexdigest() not in (last, mark)
    target = report.folder / PROPOSED if edited else context.recipe
    write_text_file(part / target.name, proposal.text)
    report.recipe = target
    report.summary["recipe"] = str(target)
    report.summary["recipe_sha256"] = last if edited else mark
    report.summary["reasons_for_recipe"] = proposal.reasons
    report.lines += ["proposal", *(f"  {reason}" for reason in proposal.reasons)]
    if edited:
        report.lines.append(
            f"  {format_path(context.recipe)} was changed by hand and is kept; the proposal is {format_path(target)}"
        )
