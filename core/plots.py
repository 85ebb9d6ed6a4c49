"""Curves as PNG files; the one module that imports matplotlib, and only when something is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def curves(
    path: Path,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    log: str = "",
    title: str = "",
) -> Path:
    """Draw named curves (xs, ys) into one PNG.

    x, y: what the axes show, with units
    log:  axes on a logarithmic scale: "", "x", "y" or "xy"
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=110)
    for name, (xs, ys) in series.items():
        axes.plot(xs, ys, marker="o", markersize=3, linewidth=1.2, label=name)
    axes.set(xlabel=x, ylabel=y, title=title)
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
    return path
