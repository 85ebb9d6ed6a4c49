"""The measurements as text for a terminal and as plain values for metrics.json."""

from __future__ import annotations

import math
from typing import Any

from ...util.messages import escape_control_characters
from .contents import DistributionRow, EvaluationReport, Measurement, Quartiles, ReferenceValue
from .folder import MARK


def format_number(form: str, value: float) -> str:
    """A number in its format; "-" for an unknown number. -0.0 is shown as 0."""
    return "-" if math.isnan(value) else form.format(value + 0.0)


def format_reference(line: Measurement, one: ReferenceValue) -> str:
    """`real sounds 1.05 (0.2 to 2.1)`."""
    text = f"{one.name} {format_number(line.format, one.value)}"
    if one.low is None or one.high is None:
        return text
    return f"{text} ({format_number(line.format, one.low)} to {format_number(line.format, one.high)})"


def format_interval(line: Measurement) -> str:
    """`14.2 to 16.9`, or "" without an interval."""
    return "" if line.interval is None else " to ".join(format_number(line.format, v) for v in line.interval)


def format_quartiles(one: Quartiles, form: str) -> str:
    """The median and, in brackets, the quartiles: `4.1 (2.0 to 9.3)`; "none" where no example has a value."""
    if not one.share:
        return "none"
    _, low, median, high, _ = (format_number(form, q) for q in one.quantiles)
    return f"{median} ({low} to {high})" + ("" if one.share == 1 else f" of {one.share:.0%}")


def table_lines(report: EvaluationReport) -> list[str]:
    """A heading for each group, then lines with name, value, 95 % interval and references."""
    out = [report.title]
    every = [line for group in report.measurements.values() for line in group]
    name_width = max((len(escape_control_characters(line.name)) for line in every), default=0)
    interval_width = max((len(format_interval(line)) for line in every), default=0)
    for heading, group in report.measurements.items():
        out += ["", heading]
        for line in group:
            others = "; ".join(format_reference(line, one) for one in line.references)
            value = format_number(line.format, line.value)
            text = (
                f"  {escape_control_characters(line.name):<{name_width}}  {value:>8}  "
                f"{format_interval(line):<{interval_width}}  {others}"
            )
            out.append(text.rstrip())
            if line.meaning:
                out.append(f"      {line.meaning}")
    return [*out, *(text for remark in report.remarks for text in ("", f"note: {remark}"))]


def report_to_dict(report: EvaluationReport) -> dict[str, Any]:
    """Contents of metrics.json; unknown numbers are null."""
    figures = {heading: {line.key: _plain(line) for line in group} for heading, group in report.measurements.items()}
    return {
        MARK[0]: MARK[1],
        "title": report.title,
        **report.facts,
        "remarks": report.remarks,
        "figures": figures,
        "distributions": {
            one.key: {row.name or "all": _distribution(row) for row in one.rows} for one in report.distributions
        },
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


def _distribution(row: DistributionRow) -> dict[str, Any]:
    mean, low, high = (_finite(v) for v in row.baseline)
    baseline = {"value": mean, "low": low, "high": high}
    sets = {"samples": _quantiles(row.samples), "real": _quantiles(row.real)}
    return {**sets, "distance": _finite(row.distance), "baseline": baseline}


def _quantiles(one: Quartiles) -> dict[str, Any]:
    shares = ("5 %", "25 %", "50 %", "75 %", "95 %")
    values = {share: _finite(value) for share, value in zip(shares, one.quantiles, strict=True)}
    return {"count": one.count, "with a value": one.share, **values}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
