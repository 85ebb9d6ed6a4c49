"""The report as one HTML page without scripts or network access; a large one has its media in separate files.

The page is a template whose engine escapes all values: names of classes and files are shown as text.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...util.html_templates import template_engine
from ...util.media_files import MediaFile
from ...util.messages import format_json
from . import table
from .contents import EvaluationReport, GalleryRow, SimilarityHistogram
from .folder import FILES, METRICS, PAGE

TEMPLATES = Path(__file__).parent / "templates"
_FIRST = 2  # rows of the gallery above the histogram: samples and real examples


def write_report(report: EvaluationReport, folder: Path, embed: float) -> Path:
    """Write report.html and metrics.json into the folder.

    Args:
        report: Contents of the report.
        folder: Target folder; created if missing.
        embed: Maximum MB of media embedded in the page; if there are more, they are written to report_files/.

    Returns:
        The page's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    media_folder = folder / FILES
    if media_folder.is_dir():
        shutil.rmtree(media_folder)
    size = sum(4 * len(file.data) / 3 for row in report.gallery for item in row.items for file in item.files)
    target, part = folder / PAGE, folder / f".{PAGE}.part"
    (folder / METRICS).write_text(format_json(table.report_to_dict(report)) + "\n", encoding="utf-8")
    part.write_text(render_report(report, None if size <= embed * 1e6 else media_folder), encoding="utf-8")
    part.replace(target)
    return target


def render_report(report: EvaluationReport, media_folder: Path | None = None) -> str:
    """The page's HTML; media_folder: folder for its media files, None: they are embedded in the page."""
    rows = [
        _gallery_row(row, None if media_folder is None else media_folder / str(i))
        for i, row in enumerate(report.gallery)
    ]
    template = template_engine(TEMPLATES).get_template("report.html.j2")
    return template.render(
        report=report,
        table=table,
        summary=_summary(report.facts),
        galleries=(rows[:_FIRST], rows[_FIRST:]),
        histogram=None if report.similarity is None else _histogram(report.similarity),
        confusion=None if report.confusion is None else _confusion(report.confusion.tolist(), report.classes),
        facts=format_json(report.facts).split("\n"),
    )


def _summary(facts: dict[str, Any]) -> str:
    real, sampling = facts.get("real", {}), facts.get("sampling", {})
    rows = [f"{real.get('training')} real training examples, {real.get('held out')} held out"]
    if sampling.get("use"):
        rows.append(f"{sampling['use']}, {sampling.get('steps')} steps, seed {sampling.get('seed')}")
    rows.append(f"measured: {facts.get('samples', {}).get('measured')}")
    return "; ".join(rows)


# --- media ---


@dataclass(frozen=True)
class _ShownFile:
    """A media file on the page: its URL, and whether it is played with controls or shown as it is."""

    played: bool
    source: str


@dataclass(frozen=True)
class _ShownItem:
    files: list[_ShownFile]
    caption: str
    warn: bool


@dataclass(frozen=True)
class _ShownRow:
    heading: str
    about: str
    items: list[_ShownItem]

    @property
    def has_players(self) -> bool:
        return any(file.played for item in self.items for file in item.files)


def _gallery_row(row: GalleryRow, folder: Path | None) -> _ShownRow:
    items = [
        _ShownItem([_source(file, folder, str(i)) for file in item.files], item.caption, item.warn)
        for i, item in enumerate(row.items)
    ]
    return _ShownRow(row.heading, row.about, items)


def _source(file: MediaFile, folder: Path | None, name: str) -> _ShownFile:
    """The file embedded in the page, or written into the folder."""
    played = file.family == "audio"
    if folder is None:
        return _ShownFile(played, file.url)
    path = folder / f"{name}.{file.mime.partition('/')[2]}"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.data)
    return _ShownFile(played, quote("/".join(path.parts[-3:])))


# --- figures ---


@dataclass(frozen=True)
class _Cell:
    """A count of the confusion matrix; `shade` 0 to 0.75, darker for a larger share of its row."""

    count: int
    shade: float
    right: bool


@dataclass(frozen=True)
class _ConfusionRow:
    name: str
    cells: list[_Cell]
    right: str


def _confusion(counts: list[list[int]], classes: Sequence[str]) -> list[_ConfusionRow]:
    rows = []
    for i, (name, row) in enumerate(zip(classes, counts, strict=True)):
        total = sum(row)
        cells = [_Cell(n, 0.75 * math.sqrt(n / max(1, total)), i == j) for j, n in enumerate(row)]
        rows.append(_ConfusionRow(name, cells, f"{row[i] / total:.0%}" if total else "-"))
    return rows


@dataclass(frozen=True)
class _Bar:
    """A rectangle of the histogram, in pixels."""

    x: float
    y: float
    width: float
    height: float
    samples: bool


@dataclass(frozen=True)
class _HistogramDrawing:
    """Two histograms, samples above and held-out examples below the axis, and the threshold as a line, in pixels."""

    width: int
    height: int
    bars: list[_Bar]
    threshold: float
    ticks: list[tuple[float, float]]
    counts: tuple[int, int]


def _histogram(data: SimilarityHistogram) -> _HistogramDrawing:
    values = [*data.samples, *data.held_out, data.threshold]
    low, high = min(values), max(1.0, *values)
    bins, width, tall, margin = 50, 720, 70, 10

    def share(value: float) -> float:
        return (value - low) / max(high - low, 1e-9)

    bars = []
    for some, above in ((data.samples, True), (data.held_out, False)):
        counts = [0] * bins
        for v in some:
            counts[min(bins - 1, int(share(v) * bins))] += 1
        for i, n in enumerate(counts):
            size = tall * n / (max(counts) or 1)
            y = tall + 8 - size if above else tall + 10
            if n:
                bars.append(_Bar(margin + i * width / bins, y, width / bins - 1, size, above))
    ticks = [low + k * (high - low) / 5 for k in range(6)]
    return _HistogramDrawing(
        width + 36,
        2 * tall + 40,
        bars,
        margin + share(data.threshold) * width,
        [(margin + share(t) * width - 10, t) for t in ticks],
        (len(data.samples), len(data.held_out)),
    )
