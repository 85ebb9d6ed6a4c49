"""The report as one HTML page without scripts, which needs no network; only a large one has files beside it."""

from __future__ import annotations

import base64
import html
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..adapter import EvaluationReport, Exhibit, Figure, Shown
from . import table
from .place import BESIDE, METRICS, NAME

_STYLE = """
:root { --ink: #1d2026; --soft: #5c6370; --line: #dcdfe5; --paper: #fff; --ground: #f5f6f8; --warn: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ec; --soft: #9aa1ad; --line: #363b45; --paper: #1e2127; --ground: #15171b; --warn: #ff8a80 }
}
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
body { color: var(--ink); background: var(--ground) }
h1 { font-size: 1.5rem; font-weight: 600; margin: 0 0 .25rem }
h2 { font-size: 1.1rem; font-weight: 600; margin: 2.2rem 0 .5rem }
p { margin: .25rem 0 } .soft { color: var(--soft) }
.remark { border-left: 3px solid var(--warn); padding: .1rem .7rem; margin: .4rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; background: var(--paper); width: 100%; border: 1px solid var(--line) }
th, td { text-align: left; padding: .35rem .7rem; border-top: 1px solid var(--line); vertical-align: top }
th { font-weight: 600 } td.n { font-variant-numeric: tabular-nums; white-space: nowrap } td.v { font-weight: 600 }
td:first-child { min-width: 10rem }
tr.group th { background: var(--ground); border-top: 2px solid var(--line); padding-top: .8rem }
td.means { color: var(--soft); font-size: .88rem; min-width: 16rem }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: .7rem; margin-top: .5rem }
.pictures { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)) }
figure { margin: 0; padding: .5rem; background: var(--paper); border: 1px solid var(--line); border-radius: 6px }
figure { min-width: 0 } figure.warn { border-color: var(--warn) }
figure img { width: 100%; display: block; border-radius: 3px; background: #fff }
.pictures img { image-rendering: pixelated }
audio { width: 100%; height: 2.1rem; margin-top: .35rem }
figcaption { font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; margin-top: .3rem }
.warn figcaption { color: var(--warn) }
.confusion table { width: auto } .confusion td:first-child { min-width: 0 }
.confusion td { text-align: center; padding: .25rem .45rem; font-variant-numeric: tabular-nums }
details { margin-top: 1rem }
pre { overflow-x: auto; background: var(--paper); border: 1px solid var(--line); padding: .7rem; font-size: .82rem }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif }
"""


def write(report: EvaluationReport, folder: Path, cap: float) -> Path:
    """Write report.html and metrics.json into the folder; returns the page's path.

    cap: MB of sounds and pictures that the page holds; where there are more, they go to report_files/ beside it
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / BESIDE
    if beside.is_dir():
        shutil.rmtree(beside)
    size = sum(4 * len(s.data) / 3 for _, some in report.exhibits.values() for e in some for s in e.shown)
    place = None if size <= cap * 1e6 else beside
    target, part = folder / NAME, folder / f".{NAME}.part"
    (folder / METRICS).write_text(json.dumps(table.plain(report), indent=1, default=str) + "\n", encoding="utf-8")
    part.write_text(page(report, place), encoding="utf-8")
    part.replace(target)
    return target


def page(report: EvaluationReport, beside: Path | None = None) -> str:
    """The page's HTML; beside: a folder for its files, None: they are held in the page."""
    parts = ["<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">']
    parts.append('<meta name="viewport" content="width=device-width, initial-scale=1">')
    parts += [f"<title>{_text(report.title)}</title>", f"<style>{_STYLE}</style>", "</head>", "<body>"]
    parts += [f"<h1>{_text(report.title)}</h1>", f'<p class="soft">{_text(_summary(report.facts))}</p>']
    parts += [f'<p class="remark">{_text(remark)}</p>' for remark in report.remarks]
    parts.append(_figures(report))
    shown = [
        _exhibits(heading, about, some, None if beside is None else beside / f"{number}")
        for number, (heading, (about, some)) in enumerate(report.exhibits.items())
    ]
    parts += shown[:2]  # samples and real ones: a look and a listen come before further figures
    if report.likeness:
        parts.append(_likeness(report.likeness))
    if report.confusion is not None:
        parts.append(_confusion(report.confusion.tolist(), report.classes))
    parts += shown[2:]
    told = json.dumps(report.facts, indent=1, default=str, ensure_ascii=False)
    parts.append(f"<details><summary>How it was measured</summary><pre>{_text(told)}</pre></details>")
    return "\n".join([*parts, "</body>", "</html>", ""])


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _summary(facts: dict[str, Any]) -> str:
    real, sampling = facts.get("real", {}), facts.get("sampling", {})
    rows = [f"{real.get('training')} real training examples, {real.get('held out')} held out"]
    if sampling.get("use"):
        rows.append(f"{sampling['use']}, {sampling.get('steps')} steps, seed {sampling.get('seed')}")
    rows.append(f"measured: {facts.get('samples', {}).get('measured')}")
    return "; ".join(rows)


def _figures(report: EvaluationReport) -> str:
    rows = ["<h2>Figures</h2>", '<div class="scroll"><table>']
    rows.append("<tr><th>what</th><th>samples</th><th>95 %</th><th>beside</th><th>what it means</th></tr>")
    for heading, group in report.figures.items():
        rows.append(f'<tr class="group"><th colspan="5">{_text(heading)}</th></tr>')
        rows += [_row(f) for f in group]
    return "\n".join([*rows, "</table></div>"])


def _row(f: Figure) -> str:
    others = "<br>".join(_text(table.beside(f, b)) for b in f.beside)
    return (
        f'<tr><td>{_text(f.name)}</td><td class="n v">{_text(table.value(f.form, f.value))}</td>'
        f'<td class="n">{_text(table.interval(f))}</td><td class="n">{others}</td>'
        f'<td class="means">{_text(f.means)}</td></tr>'
    )


def _exhibits(heading: str, about: str, some: Sequence[Exhibit], place: Path | None) -> str:
    sounds = any(s.mime.startswith("audio/") for e in some for s in e.shown)
    rows = [f"<h2>{_text(heading)}</h2>", f'<p class="soft">{_text(about)}</p>']
    rows.append(f'<div class="grid{"" if sounds else " pictures"}">')
    for i, e in enumerate(some):
        inner = "".join(_media(s, e.caption, None if place is None else place / f"{i}") for s in e.shown)
        warn = ' class="warn"' if e.warn else ""
        rows.append(f"<figure{warn}>{inner}<figcaption>{_text(e.caption)}</figcaption></figure>")
    return "\n".join([*rows, "</div>"])


def _media(shown: Shown, caption: str, place: Path | None) -> str:
    source = f"data:{shown.mime};base64,{base64.b64encode(shown.data).decode()}"
    if place is not None:
        path = place.with_name(f"{place.name}.{shown.mime.rpartition('/')[2]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shown.data)
        source = "/".join(path.parts[-3:])
    if shown.mime.startswith("audio/"):
        return f'<audio controls preload="metadata" src="{source}" title="{_text(caption)}"></audio>'
    return f'<img src="{source}" alt="{_text(caption)}">'


def _confusion(counts: list[list[int]], classes: Sequence[str]) -> str:
    """Told classes down, recognised ones across; the darker, the larger the share of the row."""
    rows = [
        "<h2>Told and recognised</h2>",
        '<p class="soft">Rows: the class told. Columns: what the classifier sees.</p>',
    ]
    rows.append('<div class="scroll confusion"><table>')
    rows.append("<tr><th></th>" + "".join(f"<th>{_text(c)}</th>" for c in classes) + "<th>right</th></tr>")
    for i, (name, row) in enumerate(zip(classes, counts, strict=True)):
        total = sum(row)
        cells = "".join(_cell(n, n / max(1, total), i == j) for j, n in enumerate(row))
        right = f"{row[i] / total:.0%}" if total else "-"
        rows.append(f'<tr><th>{_text(name)}</th>{cells}<td class="n v">{right}</td></tr>')
    return "\n".join([*rows, "</table></div>"])


def _cell(count: int, share: float, right: bool) -> str:
    colour = "38, 92, 160" if right else "179, 38, 30"
    return f'<td style="background: rgba({colour}, {0.75 * math.sqrt(share):.2f})">{count or ""}</td>'


def _likeness(likeness: dict[str, list[float]]) -> str:
    """Two histograms, samples above and held-out examples below the axis, with the limit as a line."""
    sides = [(likeness["samples"], -1), (likeness["held out"], 1)]
    everything = [v for values, _ in sides for v in values] + likeness["limit"]
    low, high = min(everything), max(1.0, max(everything))
    bins, width, tall = 50, 720, 70
    place = lambda v: 10 + (v - low) / max(high - low, 1e-9) * width  # noqa: E731
    above, below = len(likeness["samples"]), len(likeness["held out"])
    about = f"Of {above} samples (up) and {below} held-out examples (down);"
    out = ["<h2>Likeness to the training data</h2>", f'<p class="soft">{about}']
    out.append("the line is the limit above which an example counts as a copy.</p>")
    out.append(f'<div class="scroll"><svg width="{width + 36}" height="{2 * tall + 40}" role="img">')
    for values, down in sides:
        counts = [0] * bins
        for v in values:
            counts[min(bins - 1, int((v - low) / max(high - low, 1e-9) * bins))] += 1
        most = max(counts) or 1
        for i, n in enumerate(counts):
            size = tall * n / most
            y = tall + 10 if down > 0 else tall + 8 - size
            colour = "#265ca0" if down < 0 else "#8a919e"
            if n:
                at = f'x="{10 + i * width / bins:.1f}" y="{y:.1f}"'
                out.append(f'<rect {at} width="{width / bins - 1:.1f}" height="{size:.1f}" fill="{colour}"/>')
    x = place(likeness["limit"][0])
    out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{2 * tall + 14}" stroke="#b3261e" stroke-dasharray="4 3"/>')
    ticks = [low + k * (high - low) / 5 for k in range(6)]
    out += [f'<text x="{place(t) - 10:.0f}" y="{2 * tall + 32}">{t:.2f}</text>' for t in ticks]
    return "\n".join([*out, "</svg></div>"])
