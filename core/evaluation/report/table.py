"""The figures as text for a terminal and as plain values for metrics.json."""

from __future__ import annotations

import math
from typing import Any

from ..adapter import Beside, EvaluationReport, Figure
from .place import MARK


def value(form: str, number: float) -> str:
    """A number in its form; "-" for one that is not known. -0.0 is 0."""
    return "-" if math.isnan(number) else form.format(number + 0.0)


def beside(figure: Figure, one: Beside) -> str:
    """`real sounds 1.05 (0.2 to 2.1)`."""
    text = f"{one.name} {value(figure.form, one.value)}"
    if one.low is None or one.high is None:
        return text
    return f"{text} ({value(figure.form, one.low)} to {value(figure.form, one.high)})"


def interval(figure: Figure) -> str:
    """`14.2 to 16.9`, or nothing."""
    return "" if figure.interval is None else " to ".join(value(figure.form, v) for v in figure.interval)


def text(report: EvaluationReport) -> str:
    """A heading a group, a line a figure: name, value, its 95 % interval, what stands beside it."""
    lines = [report.title]
    every = [f for group in report.figures.values() for f in group]
    wide = max((len(f.name) for f in every), default=0)
    spans = max((len(interval(f)) for f in every), default=0)
    for heading, group in report.figures.items():
        lines.append(f"\n{heading}")
        for f in group:
            others = "; ".join(beside(f, b) for b in f.beside)
            lines.append(f"  {f.name:<{wide}}  {value(f.form, f.value):>8}  {interval(f):<{spans}}  {others}".rstrip())
            if f.means:
                lines.append(f"      {f.means}")
    return "\n".join([*lines, *(f"\nnote: {remark}" for remark in report.remarks)])


def plain(report: EvaluationReport) -> dict[str, Any]:
    """What metrics.json holds; numbers that are not known are null."""
    return {
        MARK[0]: MARK[1],
        "title": report.title,
        **report.facts,
        "remarks": report.remarks,
        "figures": {heading: {f.key: _figure(f) for f in group} for heading, group in report.figures.items()},
        "classes": list(report.classes),
        "confusion": None if report.confusion is None else report.confusion.tolist(),
        "each": report.rows,
    }


def _figure(f: Figure) -> dict[str, Any]:
    low, high = f.interval or (None, None)
    return {
        "value": _number(f.value),
        "low": _number(low),
        "high": _number(high),
        "beside": {
            b.name: {"value": _number(b.value), "low": _number(b.low), "high": _number(b.high)} for b in f.beside
        },
        "means": f.means,
    }


def _number(v: float | None) -> float | None:
    return None if v is None or not math.isfinite(v) else v
