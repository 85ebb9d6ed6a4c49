"""The measurements as text for a terminal and as plain values for metrics.json."""

from __future__ import annotations

import math
from typing import Any

from ...util.messages import printable
from .contents import EvaluationReport, Measurement, ReferenceValue
from .folder import MARK


def number(form: str, value: float) -> str:
    """A number in its format; "-" for an unknown number. -0.0 is shown as 0."""
    return "-" if math.isnan(value) else form.format(value + 0.0)


def reference(line: Measurement, one: ReferenceValue) -> str:
    """`real sounds 1.05 (0.2 to 2.1)`."""
    text = f"{one.name} {number(line.format, one.value)}"
    if one.low is None or one.high is None:
        return text
    return f"{text} ({number(line.format, one.low)} to {number(line.format, one.high)})"


def interval(line: Measurement) -> str:
    """`14.2 to 16.9`, or "" without an interval."""
    return "" if line.interval is None else " to ".join(number(line.format, v) for v in line.interval)


def lines(report: EvaluationReport) -> list[str]:
    """A heading for each group, then lines with name, value, 95 % interval and references."""
    out = [report.title]
    every = [line for group in report.measurements.values() for line in group]
    name_width = max((len(printable(line.name)) for line in every), default=0)
    interval_width = max((len(interval(line)) for line in every), default=0)
    for heading, group in report.measurements.items():
        out += ["", heading]
        for line in group:
            others = "; ".join(reference(line, one) for one in line.references)
            value = number(line.format, line.value)
            text = f"  {printable(line.name):<{name_width}}  {value:>8}  {interval(line):<{interval_width}}  {others}"
            out.append(text.rstrip())
            if line.meaning:
                out.append(f"      {line.meaning}")
    return [*out, *(text for remark in report.remarks for text in ("", f"note: {remark}"))]


def as_json(report: EvaluationReport) -> dict[str, Any]:
    """Contents of metrics.json; unknown numbers are null."""
    figures = {heading: {line.key: _plain(line) for line in group} for heading, group in report.measurements.items()}
    return {
        MARK[0]: MARK[1],
        "title": report.title,
        **report.facts,
        "remarks": report.remarks,
        "figures": figures,
        "classes": list(report.classes),
        "confusion": None if report.confusion is None else report.confusion.tolist(),
        "each": report.samples,
    }


def _plain(line: Measurement) -> dict[str, Any]:
    low, high = line.interval or (None, None)
    references = {
        r.name: {"value": _finite(r.value), "low": _finite(r.low), "high": _finite(r.high)} for r in line.references
    }
    return {
        "value": _finite(line.value),
        "low": _finite(low),
        "high": _finite(high),
        "references": references,
        "meaning": line.meaning,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
