"""Prepares a folder of media: manifest, summary, copies and a proposed recipe. The modality measures the files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ...util.errors import BadInput
from ...util.interrupts import Interrupted
from ...util.messages import json_text
from ...util.plots import page
from ...util.replace import replaced, reserved, write_text
from .. import manifest as manifests
from ..files import content_hash, find_files, need_folder, need_unicode, progress, shown
from ..manifest import Line, ManifestHeader
from ..tables import table_files
from .report import SUMMARY, facts_of, lines_of, others, propose, reasons, stored_summary
from .types import PrepareContext, Preparer, PrepareReport

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class _Source:
    """A file to measure, with its manifest line so far."""

    path: Path
    line: Line


def detect(root: Path, preparers: Sequence[Preparer]) -> Preparer:
    """The preparer of the modality whose files the folder contains.

    Raises:
        BadInput: The folder has files of several modalities, or of none.
    """
    counts = [(p, len(find_files(root, {*p.suffixes, *p.foreign}))) for p in preparers]
    present = [(p, n) for p, n in counts if n]
    if len(present) == 1:
        return present[0][0]
    if present:
        found = " and ".join(f"{n} {p.nouns[n > 1]}" for p, n in present)
        choice = " or ".join(f"--modality {p.modality}" for p, _ in present)
        raise BadInput(f"{shown(root)} holds {found}: choose with {choice}, or name a folder that holds one kind")
    kinds = " and no ".join(p.nouns[1] for p in preparers)
    raise BadInput(f"no {kinds} in {shown(root)}: it holds {others(find_files(root)) or 'no files at all'}")


def prepare(
    root: Path, out: Path, preparer: Preparer, table: Path | None = None, again: bool = False, name: str = ""
) -> PrepareReport:
    """Measure every file once, and write manifest.jsonl, summary.json, summary.png and recipe.yaml to `out`.

    Measurements of an earlier run are reused if path, size and date are the same.

    Args:
        root: Folder of the media.
        out: Folder to write to.
        preparer: The modality's part.
        table: Table of the files to use; None: all files of the modality.
        again: Do not reuse measurements.
        name: Name of the recipe; "": the name of `out`.

    Raises:
        BadInput: No file is usable (the manifest and summary.json give the reasons), or `out` is among the media or
            belongs to another folder.
    """
    began = time.monotonic()
    root = need_unicode(need_folder(root, "FOLDER").resolve(), "FOLDER")
    need_unicode(out, "--out")
    _check_out(root, out)
    with reserved(out):
        return _prepare(root, out, preparer, table, again, name or out.name, began)


def _prepare(
    root: Path, out: Path, preparer: Preparer, table: Path | None, again: bool, name: str, began: float
) -> PrepareReport:
    sources = _sources(root, preparer, table)
    path = out / manifests.NAME
    header = ManifestHeader("manifest", preparer.modality, str(root), analysis=preparer.analysis)
    whole = manifests.is_complete(path) and not path.with_name(manifests.PARTIAL).exists()
    before = {} if again else _earlier_lines(path, header, preparer)
    lines, traces, fresh = _measure(sources, before, preparer, path, header)
    usable = [i for i, line in enumerate(lines) if line["status"] == "ok"]
    unchanged = whole and fresh == 0 and len(before) == len(lines)
    pairs = _copies(lines, usable, sources, traces, preparer, out if unchanged else None)
    report = PrepareReport(out, facts_of(root, preparer, lines, pairs, table))
    report.summary |= {"measured": fresh, "kept": len(lines) - fresh}
    with replaced(out) as part:
        manifests.write(part / manifests.NAME, replace(header, complete=True), lines)
        if usable:
            _summarise(preparer, root, part, lines, pairs, PrepareContext(name, root, out / RECIPE), report)
        report.summary["seconds_taken"] = round(time.monotonic() - began, 2)
        write_text(part / SUMMARY, json_text(report.summary) + "\n")
    (out / manifests.PARTIAL).unlink(missing_ok=True)
    if not usable:
        raise BadInput(f"0 usable of {len(lines)} files: {reasons(lines)}; {shown(path)} lists them")
    return report


def _summarise(
    preparer: Preparer,
    root: Path,
    part: Path,
    lines: list[Line],
    pairs: list[tuple[str, str, float]],
    context: PrepareContext,
    report: PrepareReport,
) -> None:
    """Write summary.png and the proposed recipe into the folder `part`, and complete the report."""
    good = [line for line in lines if line["status"] == "ok"]
    summary = preparer.summarise(good)
    report.summary |= summary.numbers
    report.lines = lines_of(root, preparer, report.summary, summary, pairs, lines)
    page(part / "summary.png", summary.panels, shown(root))
    propose(preparer, good, context, report, part)


def _check_out(root: Path, out: Path) -> None:
    place = out.resolve()
    inside = place.relative_to(root).parts if place.is_relative_to(root) else None
    if inside is not None and not any(part.startswith(".") for part in inside):
        raise BadInput(
            f"--out {shown(out)} is inside the folder that is read: name one elsewhere, or a hidden one, such as "
            f"{shown(root / '.sonolux')}"
        )


def _sources(root: Path, preparer: Preparer, table: Path | None) -> list[_Source]:
    if table is not None:
        rows = table_files(table, root)
        paths = [path for _, path in rows]
        columns = [{"label": row.label, "caption": row.caption, "more": row.more} for row, _ in rows]
    else:
        paths = find_files(root, {*preparer.suffixes, *preparer.foreign})
        columns = [{}] * len(paths)
    if not paths:
        raise BadInput(
            f"no {preparer.nouns[1]} in {shown(root)}: it holds {others(find_files(root)) or 'no files at all'}"
        )
    sources, labelled = [], any(facts.get("label") is not None for facts in columns)  # else folders are classes
    for path, facts in zip(paths, columns, strict=True):
        parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
        label = facts.get("label") or (shown(Path(parts[0])) if len(parts) > 1 and not labelled else None)
        extra = {"more": facts["more"]} if facts.get("more") else {}
        line = {**manifests.name_of(path, root), "label": label, "caption": facts.get("caption"), **extra}
        sources.append(_Source(path, line))
    return sources


def _earlier_lines(path: Path, header: ManifestHeader, preparer: Preparer) -> dict[str, Line]:
    """File -> line of an earlier run, if it has all measurements with their types; damaged lines are left out.

    Raises:
        BadInput: The file is not a manifest, or that of another folder.
    """
    found: dict[str, Line] = {}
    for file in (path, path.with_name(manifests.PARTIAL)):
        earlier = manifests.started(file)
        if earlier is None:
            if file == path and path.exists() and not manifests.is_damaged(path):
                raise BadInput(
                    f"{shown(path)} is not a manifest that this version can read: remove it, or name another folder "
                    "with --out"
                )
            continue
        old, lines = earlier
        if (old.modality, old.root) != (header.modality, header.root):
            raise BadInput(
                f"{shown(file.parent)} holds the manifest of {old.root} ({old.modality}): name another folder with "
                "--out"
            )
        if old.analysis == header.analysis:
            found |= {line["file"]: line for line in lines if _is_reusable(line, preparer.facts)}
    return found


def _is_reusable(line: Line, facts: type[BaseModel]) -> bool:
    """Whether a line of an earlier run states why its file cannot be used, or has all measurements."""
    if line["status"] != "ok":
        return True
    try:
        facts.model_validate({name: line[name] for name in facts.model_fields}, strict=True)
    except (ValidationError, KeyError):
        return False
    return True


def _measure(
    sources: Sequence[_Source], before: dict[str, Line], preparer: Preparer, path: Path, header: ManifestHeader
) -> tuple[list[Line], dict[int, Any], int]:
    """Measure the sources that have no line of an earlier run, and write each line to the disk at once.

    Returns:
        One line per source; source index -> trace, for the files measured now; and the number of these files.
    """
    lines: list[Line | None] = []
    for source in sources:
        old = before.get(source.line["file"])
        same = old is not None and _stamp(source.path) == (old.get("size"), old.get("mtime_ns"))
        lines.append({**_measured(old), **source.line} if old is not None and same else None)
    todo = [i for i, line in enumerate(lines) if line is None]
    traces: dict[int, Any] = {}
    preparer.begin(len(sources))
    if todo:
        if manifests.is_complete(path):  # it is replaced when the new one is complete
            path = path.with_name(manifests.PARTIAL)
        manifests.write(path, header, [line for line in lines if line is not None])
        with open(path, "a", encoding="utf-8") as file:
            try:
                for i in progress(todo, f"measuring {preparer.nouns[1]}", len(todo)):
                    line, trace = _one(sources[i], preparer)
                    file.write(manifests.text(line))
                    file.flush()
                    lines[i], traces[i] = line, trace
            except KeyboardInterrupt:
                done = sum(line is not None for line in lines)
                state = f"{done} of {len(sources)} files are in {shown(path)}"
                raise Interrupted(f"stopped: {state}; the same command continues from there") from None
    return [_ordered(line) for line in lines if line is not None], traces, len(todo)


def _measured(line: Line) -> Line:
    """The entries that depend on the file only; labels and copies are determined again."""
    return {k: v for k, v in line.items() if k not in ("raw", "label", "caption", "more", "copy_of", "group")}


def _ordered(line: Line) -> Line:
    first = ("file", "status", "reason", "label", "caption")
    return {**{k: line[k] for k in first if k in line}, **{k: v for k, v in line.items() if k not in first}}


def _stamp(path: Path) -> tuple[int | None, int | None]:
    try:
        facts = path.stat()
    except OSError:
        return None, None
    return facts.st_size, facts.st_mtime_ns


def _one(source: _Source, preparer: Preparer) -> tuple[Line, Any]:
    """A file's line and trace; an error becomes the line's reason."""
    size, date = _stamp(source.path)
    line: Line = {**source.line, "status": "ok", "reason": None, "size": size, "mtime_ns": date, "hash": None}
    try:
        facts, trace = preparer.inspect(source.path)
        line["hash"] = content_hash(source.path)
        return {**line, **facts}, trace
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
    lines: list[Line],
    usable: list[int],
    sources: Sequence[_Source],
    traces: dict[int, Any],
    preparer: Preparer,
    known_in: Path | None,
) -> list[tuple[str, str, float]]:
    """Mark exact copies (`copy_of`) and groups of near copies (`group`, the same hash for all).

    Args:
        lines: One line per source.
        usable: Indices of the usable ones.
        sources: The sources.
        traces: Source index -> trace, for the files measured now.
        preparer: The modality's part.
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
        found = [traces[i] if traces.get(i) is not None else _traced(preparer, sources[i].path) for i in different]
        known = [(different[p.first], different[p.second], p.similarity) for p in preparer.similar_pairs(found)]
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


def _traced(preparer: Preparer, path: Path) -> Any:
    try:
        return preparer.trace(path)
    except (BadInput, OSError):
        return None


def _known_pairs(out: Path, lines: list[Line], different: list[int]) -> list[tuple[int, int, float]] | None:
    """The pairs of near copies in summary.json, which are valid if no file was measured now; None: not available."""
    place, pairs = {lines[i]["file"]: i for i in different}, stored_summary(out).near_copies
    if pairs is None or not all(file in place for pair in pairs for file in pair.files):
        return None
    return [(place[pair.files[0]], place[pair.files[1]], pair.likeness) for pair in pairs]
