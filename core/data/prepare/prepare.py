"""Prepares a folder of media: manifest, summary, copies and a proposed recipe. The modality measures the files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ...util.atomic_replace import replace_files, reserve_folder, write_text_file
from ...util.errors import BadInput
from ...util.interrupts import Interrupted
from ...util.messages import format_json
from ...util.plots import plot_distributions
from .. import manifest as manifests
from ..captions import choose_caption
from ..files import content_hash, find_files, format_path, require_folder, require_unicode_name, with_file_progress
from ..manifest import ManifestHeader, ManifestLine
from ..shards import SHARDS, write_shards
from ..tables import note_folder_labels, rows_with_paths
from .report import (
    SUMMARY,
    format_skip_reasons,
    format_suffix_counts,
    read_stored_summary,
    report_lines,
    summary_entries,
    write_proposed_recipe,
)
from .types import FolderAnalyzer, PrepareReport, RecipeProposalContext

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class _Source:
    """A file to measure, with its manifest line so far."""

    path: Path
    line: ManifestLine


def choose_analyzer(root: Path, analyzers: Sequence[FolderAnalyzer]) -> FolderAnalyzer:
    """The analyzer of the modality whose files the folder contains.

    Raises:
        BadInput: The folder has files of several modalities, or of none.
    """
    counts = [(p, len(find_files(root, {*p.suffixes, *p.foreign}))) for p in analyzers]
    present = [(p, n) for p, n in counts if n]
    if len(present) == 1:
        return present[0][0]
    if present:
        found = " and ".join(f"{n} {p.nouns[n > 1]}" for p, n in present)
        choice = " or ".join(f"--modality {p.modality}" for p, _ in present)
        raise BadInput(f"{format_path(root)} holds {found}: choose with {choice}, or name a folder that holds one kind")
    kinds = " and no ".join(p.nouns[1] for p in analyzers)
    raise BadInput(
        f"no {kinds} in {format_path(root)}: it holds {format_suffix_counts(find_files(root)) or 'no files at all'}"
    )


def prepare_folder(
    root: Path,
    out: Path,
    analyzer: FolderAnalyzer,
    table: Path | None = None,
    again: bool = False,
    name: str = "",
    shards: int = 0,
) -> PrepareReport:
    """Measure every file once, and write manifest.jsonl, summary.json, summary.png and recipe.yaml to `out`.

    Measurements of an earlier run are reused if path, size and date are the same.

    Args:
        root: Folder of the media.
        out: Folder to write to.
        analyzer: The modality's part.
        table: Table of the files to use; None: all files of the modality.
        again: Do not reuse measurements.
        name: Name of the recipe; "": the name of `out`.
        shards: Number of shards to which the usable files are copied, see `core/data/shards.py`; 0: none.

    Raises:
        BadInput: No file is usable (the manifest and summary.json give the reasons), or `out` is among the media or
            belongs to another folder.
    """
    began = time.monotonic()
    root = require_unicode_name(require_folder(root, "FOLDER").resolve(), "FOLDER")
    require_unicode_name(out, "--out")
    _check_out(root, out)
    with reserve_folder(out):
        return _prepare(root, out, analyzer, table, again, name or out.name, shards, began)


def _prepare(
    root: Path,
    out: Path,
    analyzer: FolderAnalyzer,
    table: Path | None,
    again: bool,
    name: str,
    shards: int,
    began: float,
) -> PrepareReport:
    sources = _sources(root, analyzer, table)
    path = out / manifests.NAME
    header = ManifestHeader("manifest", analyzer.modality, str(root), analysis=analyzer.analysis)
    whole = manifests.is_complete_manifest(path) and not path.with_name(manifests.PARTIAL).exists()
    before = {} if again else _earlier_lines(path, header, analyzer)
    lines, fingerprints, fresh = _measure(sources, before, analyzer, path, header)
    usable = [i for i, line in enumerate(lines) if line["status"] == "ok"]
    unchanged = whole and fresh == 0 and len(before) == len(lines)
    pairs = _copies(lines, usable, sources, fingerprints, analyzer, out if unchanged else None)
    report = PrepareReport(out, summary_entries(root, analyzer, lines, pairs, table))
    report.summary |= {"measured": fresh, "kept": len(lines) - fresh}
    sizes: list[int] = []
    with replace_files(out, lambda: [path.name for path in out.glob(SHARDS)]) as part:
        if shards and usable:
            lines, sizes = write_shards(part, [source.path for source in sources], lines, shards)
            report.summary |= {"shards": shards, "shard_bytes": sum(sizes)}
        manifests.write_manifest(part / manifests.NAME, replace(header, complete=True, shards=sizes), lines)
        if usable:
            place = out.resolve() if shards else root
            _summarise(analyzer, root, part, lines, pairs, RecipeProposalContext(name, place, out / RECIPE), report)
        report.summary["seconds_taken"] = round(time.monotonic() - began, 2)
        write_text_file(part / SUMMARY, format_json(report.summary) + "\n")
    (out / manifests.PARTIAL).unlink(missing_ok=True)
    if not usable:
        raise BadInput(f"0 usable of {len(lines)} files: {format_skip_reasons(lines)}; {format_path(path)} lists them")
    return report


def _summarise(
    analyzer: FolderAnalyzer,
    root: Path,
    part: Path,
    lines: list[ManifestLine],
    pairs: list[tuple[str, str, float]],
    context: RecipeProposalContext,
    report: PrepareReport,
) -> None:
    """Write summary.png and the proposed recipe into the folder `part`, and complete the report."""
    good = [line for line in lines if line["status"] == "ok"]
    summary = analyzer.summarise(good)
    report.summary |= summary.numbers
    report.lines = report_lines(root, analyzer, report.summary, summary, pairs, lines)
    plot_distributions(part / "summary.png", summary.panels, format_path(root))
    write_proposed_recipe(analyzer, good, context, report, part)


def _check_out(root: Path, out: Path) -> None:
    place = out.resolve()
    inside = place.relative_to(root).parts if place.is_relative_to(root) else None
    if inside is not None and not any(part.startswith(".") for part in inside):
        raise BadInput(
            f"--out {format_path(out)} is inside the folder that is read: name one elsewhere, or a hidden one, such as "
            f"{format_path(root / '.sonolux')}"
        )


def _sources(root: Path, analyzer: FolderAnalyzer, table: Path | None) -> list[_Source]:
    if table is not None:
        rows = rows_with_paths(table, root)
        paths = [path for _, path in rows]
        columns = [{"label": row.label, "caption": row.caption, "more": row.more} for row, _ in rows]
    else:
        paths = find_files(root, {*analyzer.suffixes, *analyzer.foreign})
        columns = [{}] * len(paths)
    if not paths:
        raise BadInput(
            f"no {analyzer.nouns[1]} in {format_path(root)}: it holds "
            f"{format_suffix_counts(find_files(root)) or 'no files at all'}"
        )
    sources, labelled = [], any(facts.get("label") is not None for facts in columns)  # else folders are classes
    for path, facts in zip(paths, columns, strict=True):
        parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
        label = facts.get("label") or (format_path(Path(parts[0])) if len(parts) > 1 and not labelled else None)
        extra = {"more": facts["more"]} if facts.get("more") else {}
        caption = choose_caption("auto", path, facts.get("caption"))
        line = {**manifests.file_name_fields(path, root), "label": label, "caption": caption, **extra}
        sources.append(_Source(path, line))
    if table is not None and not labelled and any(source.line["label"] is not None for source in sources):
        note_folder_labels(table)
    return sources


def _earlier_lines(path: Path, header: ManifestHeader, analyzer: FolderAnalyzer) -> dict[str, ManifestLine]:
    """File -> line of an earlier run, if it has all measurements within their limits; damaged lines are left out.

    Raises:
        BadInput: The file is not a manifest, or that of another folder.
    """
    found: dict[str, ManifestLine] = {}
    for file in (path, path.with_name(manifests.PARTIAL)):
        earlier = manifests.read_unfinished_manifest(file)
        if earlier is None:
            if file == path and path.exists() and not manifests.is_damaged_manifest(path):
                raise BadInput(
                    f"{format_path(path)} is not a manifest that this version can read: remove it, or name another "
                    "folder with --out"
                )
            continue
        old, lines = earlier
        if (old.modality, old.root) != (header.modality, header.root):
            raise BadInput(
                f"{format_path(file.parent)} holds the manifest of {old.root} ({old.modality}): name another folder "
                "with --out"
            )
        if old.analysis == header.analysis:
            found |= {line["file"]: line for line in lines if _is_reusable(line, analyzer.facts)}
    wrong = manifests.contradicting_hashes(found.values())
    return {name: line for name, line in found.items() if line["hash"] not in wrong}


def _is_reusable(line: ManifestLine, facts: type[BaseModel]) -> bool:
    """Whether a line of an earlier run states why its file cannot be used, or has all measurements."""
    return line["status"] != "ok" or manifests.has_facts(line, facts)


def _measure(
    sources: Sequence[_Source],
    before: dict[str, ManifestLine],
    analyzer: FolderAnalyzer,
    path: Path,
    header: ManifestHeader,
) -> tuple[list[ManifestLine], dict[int, Any], int]:
    """Measure the sources that have no line of an earlier run, and write each line to the disk at once.

    Returns:
        One line per source; source index -> fingerprint, for the files measured now; and the number of these files.
    """
    lines: list[ManifestLine | None] = []
    for source in sources:
        old = before.get(source.line["file"])
        same = old is not None and _stamp(source.path) == (old.get("size"), old.get("mtime_ns"))
        lines.append({**_measured(old), **source.line} if old is not None and same else None)
    todo = [i for i, line in enumerate(lines) if line is None]
    fingerprints: dict[int, Any] = {}
    analyzer.begin(len(sources))
    if todo:
        if manifests.is_complete_manifest(path):  # it is replaced when the new one is complete
            path = path.with_name(manifests.PARTIAL)
        manifests.write_manifest(path, header, [line for line in lines if line is not None])
        with open(path, "a", encoding="utf-8") as file:
            try:
                for i in with_file_progress(todo, f"measuring {analyzer.nouns[1]}", len(todo)):
                    line, fingerprint = _one(sources[i], analyzer)
                    file.write(manifests.format_manifest_line(line))
                    file.flush()
                    lines[i], fingerprints[i] = line, fingerprint
            except KeyboardInterrupt:
                done = sum(line is not None for line in lines)
                state = f"{done} of {len(sources)} files are in {format_path(path)}"
                raise Interrupted(f"stopped: {state}; the same command continues from there") from None
    return [_ordered(line) for line in lines if line is not None], fingerprints, len(todo)


_OF_FOLDER = ("raw", "label", "caption", "more", "copy_of", "group", "shard", "offset")


def _measured(line: ManifestLine) -> ManifestLine:
    """The entries that depend on the file only; labels and copies are determined again."""
    return {k: v for k, v in line.items() if k not in _OF_FOLDER}


def _ordered(line: ManifestLine) -> ManifestLine:
    first = ("file", "status", "reason", "label", "caption")
    return {**{k: line[k] for k in first if k in line}, **{k: v for k, v in line.items() if k not in first}}


def _stamp(path: Path) -> tuple[int | None, int | None]:
    try:
        facts = path.stat()
    except OSError:
        return None, None
    return facts.st_size, facts.st_mtime_ns


def _one(source: _Source, analyzer: FolderAnalyzer) -> tuple[ManifestLine, Any]:
    """A file's line and fingerprint; an error becomes the line's reason."""
    size, date = _stamp(source.path)
    line: ManifestLine = {**source.line, "status": "ok", "reason": None, "size": size, "mtime_ns": date, "hash": None}
    try:
        facts, fingerprint = analyzer.inspect(source.path)
        line["hash"] = content_hash(source.path)
        return {**line, **facts}, fingerprint
    except BadInput as error:
        reason = getattr(error, "reason", str(error))
    except MemoryError:
        reason = "does not fit into memory"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # one unusual file must not stop the measurement of thousands
        reason = f"cannot be measured ({type(error).__name__}: {error})"
    return {**line, "status": "skipped", "reason": reason}, None


def _copies(
    lines: list[ManifestLine],
    usable: list[int],
    sources: Sequence[_Source],
    fingerprints: dict[int, Any],
    analyzer: FolderAnalyzer,
    known_in: Path | None,
) -> list[tuple[str, str, float]]:
    """Mark exact copies (`copy_of`) and groups of near copies (`group`, the same hash for all).

    Args:
        lines: One line per source.
        usable: Indices of the usable ones.
        sources: The sources.
        fingerprints: Source index -> fingerprint, for the files measured now.
        analyzer: The modality's part.
        known_in: Folder of an earlier result for the same files, which lists the near copies; None: find them.

    Returns:
        (file, file, similarity) for each pair of near copies.
    """
    first: dict[str, int] = {}
    for i in usable:
        original = first.setdefault(lines[i]["hash"], i)
        if original != i:
            lines[i]["copy_of"] = lines[original]["file"]
    different = list(first.values())
    known = None if known_in is None else _known_pairs(known_in, lines, different)
    if known is None:
        found = [
            fingerprints[i] if fingerprints.get(i) is not None else _traced(analyzer, sources[i].path)
            for i in different
        ]
        known = [(different[p.first], different[p.second], p.similarity) for p in analyzer.near_copy_pairs(found)]
    leader = {i: i for i in different}

    def top(i: int) -> int:
        while leader[i] != i:
            i = leader[i]
        return i

    for a, b, _ in known:
        low, high = sorted((top(a), top(b)))
        leader[high] = low
    for i in usable:
        original = first[lines[i]["hash"]]
        if top(original) != original or any(top(a) == original for a, _, _ in known):
            lines[i]["group"] = lines[top(original)]["hash"]
    return sorted(((lines[a]["file"], lines[b]["file"], round(s, 4)) for a, b, s in known), key=lambda p: -p[2])


def _traced(analyzer: FolderAnalyzer, path: Path) -> Any:
    try:
        return analyzer.fingerprint(path)
    except (BadInput, OSError):
        return None


def _known_pairs(out: Path, lines: list[ManifestLine], different: list[int]) -> list[tuple[int, int, float]] | None:
    """The pairs of near copies in summary.json, which are valid if no file was measured now; None: not available."""
    place, pairs = {lines[i]["file"]: i for i in different}, read_stored_summary(out).near_copies
    if pairs is None or not all(file in place for pair in pairs for file in pair.files):
        return None
    return [(place[pair.files[0]], place[pair.files[1]], pair.likeness) for pair in pairs]
