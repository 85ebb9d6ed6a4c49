"""The account of a prepared folder: summary.json, the printed lines, summary.png and the proposed recipe."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import shown, walk
from ..manifest import Line
from .types import Context, Preparer, PrepareReport, Summary

PROPOSED = "recipe.proposed.yaml"


def others(paths: Sequence[Path]) -> str:
    """How many files of other kinds there are, by suffix, in words."""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in paths).most_common(4)
    return ", ".join(f"{n} file{'s' if n > 1 else ''} with {suffix}" for suffix, n in kinds)


def reasons(lines: Sequence[Line], most: int = 6) -> str:
    """Why files were skipped, the commonest reasons first, each with the files it met."""
    by: dict[str, list[str]] = {}
    for line in lines:
        if line["status"] != "ok":
            by.setdefault(line["reason"], []).append(line["file"])
    parts = sorted(by.items(), key=lambda item: -len(item[1]))
    told = [f"{why}: {', '.join(who[:3])}{f' and {len(who) - 3} more' if len(who) > 3 else ''}" for why, who in parts]
    return "; ".join(told[:most]) + (f"; and {len(told) - most} other reasons" if len(told) > most else "")


def facts_of(
    root: Path, preparer: Preparer, lines: list[Line], pairs: list[tuple[str, str, float]], table: Path | None
) -> dict[str, Any]:
    """What summary.json says of every folder, whatever it holds."""
    listed = {*preparer.suffixes, *preparer.foreign}
    others = [] if table else [p for p in walk(root) if p.suffix.casefold() not in listed]
    good = [line for line in lines if line["status"] == "ok"]
    classes = Counter(line["label"] for line in good if line["label"] is not None)
    exact: dict[str, list[str]] = {}
    for line in good:
        exact.setdefault(line.get("copy_of") or line["file"], []).append(line["file"])
    return {
        "modality": preparer.modality,
        "root": str(root),
        "files": len(lines),
        "usable": len(good),
        "skipped": len(lines) - len(good),
        "reasons": dict(Counter(line["reason"] for line in lines if line["status"] != "ok").most_common()),
        "other_files": dict(Counter(p.suffix.lower() or "no suffix" for p in others).most_common()),
        "bytes": sum(line["size"] for line in good),
        "classes": dict(classes),
        "without_class": sum(line["label"] is None for line in good) if classes else 0,
        "captions": sum(line["caption"] is not None for line in good),
        "exact_copies": [files for files in exact.values() if len(files) > 1],
        "near_copies": [{"files": [a, b], "likeness": likeness} for a, b, likeness in pairs],
    }


def lines_of(
    root: Path, preparer: Preparer, facts: dict[str, Any], own: Summary, pairs: Sequence[Any], lines: Sequence[Line]
) -> list[str]:
    """The summary as lines of text."""
    total, good, others = facts["files"], facts["usable"], facts["other_files"]
    kept = f", {facts['kept']} known from before" if facts["kept"] else ""
    told = [f"{shown(root)}: {good} of {total} {preparer.nouns[1]} usable{kept}"]
    if good < total:
        told.append(f"  skipped     {total - good}: {reasons(lines)}")
    if others:
        told.append(f"  not read    {', '.join(f'{n} {suffix}' for suffix, n in list(others.items())[:6])}")
    told += [*own.lines, _classes(facts)]
    exact = sum(len(files) - 1 for files in facts["exact_copies"])
    if exact:
        some = "; ".join(" = ".join(files[:4]) for files in facts["exact_copies"][:3])
        told.append(f"  copies      {exact} exact: {some}{' ...' if len(facts['exact_copies']) > 3 else ''}")
    if pairs:
        some = "; ".join(f"{a} ~ {b} ({s:.2f})" for a, b, s in pairs[:3])
        told.append(
            f"  near copies {len(pairs)} pair{'s' * (len(pairs) > 1)}: {some}{' ...' if len(pairs) > 3 else ''}"
        )
    if not exact and not pairs:
        told.append("  copies      none")
    return told


def _classes(facts: dict[str, Any]) -> str:
    sizes: dict[str, int] = facts["classes"]
    if not sizes:
        return "  classes     none: no file lies in a folder of its class"
    few = sorted(sizes.items(), key=lambda item: item[1])[:3]
    rest = f"; {facts['without_class']} files lie in none" if facts["without_class"] else ""
    smallest = ", ".join(f"{name} {n}" for name, n in few)
    spread = f"{min(sizes.values())} to {max(sizes.values())} files"
    return f"  classes     {len(sizes)} of {spread} (smallest: {smallest}){rest}"


def write_json(out: Path, facts: dict[str, Any]) -> None:
    """Write summary.json, whole or not at all."""
    part = out / f".summary.{os.getpid()}.part"
    part.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, out / "summary.json")


def propose(preparer: Preparer, good: list[Line], context: Context, report: PrepareReport) -> None:
    """Write the proposal; a recipe that the user has changed stays, and the proposal goes beside it."""
    proposal = preparer.propose(good, context)
    mark = hashlib.sha256(proposal.text.encode()).hexdigest()
    try:
        last = json.loads((report.folder / "summary.json").read_text(encoding="utf-8")).get("recipe_sha256")
    except (OSError, ValueError):
        last = None
    there = context.recipe.read_bytes() if context.recipe.exists() else None
    edited = there is not None and hashlib.sha256(there).hexdigest() not in (last, mark)
    target = report.folder / PROPOSED if edited else context.recipe
    target.write_text(proposal.text, encoding="utf-8")
    report.recipe = target
    report.summary["recipe"] = str(target)
    report.summary["recipe_sha256"] = last if edited else mark
    report.summary["reasons_for_recipe"] = proposal.reasons
    report.lines += ["proposal", *(f"  {reason}" for reason in proposal.reasons)]
    if edited:
        report.lines.append(f"  {shown(context.recipe)} was changed by hand and stays; the proposal is {shown(target)}")
