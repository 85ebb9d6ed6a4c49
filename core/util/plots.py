"""Curves and distributions as PNG files. Only this module imports matplotlib, and only when something is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .atomic_replace import replace_whole_file
from .messages import escape_control_characters
from .notes import ignore_library_warnings

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def plot_curves(path: Path, series: Series, x: str, y: str, log: str = "", title: str = "") -> Path:
    """Draw named curves (xs, ys) into one PNG.

    Args:
        path: The PNG file.
        series: Name -> (xs, ys).
        x: Label of the x axis, with unit.
        y: Label of the y axis, with unit.
        log: Axes on a logarithmic scale: "", "x", "y" or "xy".
        title: Title of the plot.
    """
    return plot_curve_panels(path, {title: series}, x, y, log, emphasis=False)


def plot_curve_panels(
    path: Path, shown: Mapping[str, Series], x: str, y: str, log: str = "", emphasis: bool = True
) -> Path:
    """Draw one panel of named curves for each title, side by side, into one PNG.

    Args:
        path: The PNG file.
        shown: Title -> curves of a panel.
        x: Label of the x axes, with unit.
        y: Label of the y axis, with unit.
        log: Axes on a logarithmic scale: "", "x", "y" or "xy".
        emphasis: Draw the first curve of each panel thicker than the others.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = max(1, len(shown))
    size = (6.4, 3.6) if count == 1 else (3.9 * count, 3.6)
    figure, grid = pyplot.subplots(1, count, figsize=size, dpi=110, squeeze=False, sharey=True)
    for axes, (title, series) in zip(grid[0], shown.items(), strict=False):
        for i, (name, (xs, ys)) in enumerate(series.items()):
            axes.plot(
                xs, ys, marker="o", markersize=3, linewidth=2.4 if emphasis and i == 0 else 1.2, label=_plain(name)
            )
        axes.set(xlabel=x, title=_plain(title))
        if "x" in log:
            axes.set_xscale("log")
            _whole_ticks(axes, next(iter(series.values()), ((), ()))[0])
        if "y" in log:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        if len(series) > 1:
            axes.legend(fontsize=8)
    grid[0][0].set_ylabel(y)
    _save(figure, path)
    return path


def _whole_ticks(axes: Any, values: Sequence[float]) -> None:
    """Label a logarithmic axis with the integers that are drawn, if there are few, instead of powers of ten."""
    if 1 < len(values) <= 8 and all(float(v).is_integer() for v in values):
        axes.set_xticks(values, [f"{v:g}" for v in values])
        axes.set_xticks([], minor=True)


@dataclass(frozen=True)
class DistributionPlot:
    """One distribution on a page.

    Attributes:
        title: Title of the panel.
        x: Label of the x axis, with unit.
        values: Numbers, drawn as a histogram; or name -> count, drawn as bars, at most the 24 largest.
        log: Whether the histogram has a logarithmic axis.
    """

    title: str
    x: str
    values: Sequence[float] | Mapping[str, int]
    log: bool = False


def plot_distributions(path: Path, panels: Sequence[DistributionPlot], title: str = "") -> Path:
    """Draw distributions into one PNG, three in a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(panels) // 3)
    figure, grid = pyplot.subplots(rows, 3, figsize=(11, 2.9 * rows), dpi=110, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        if isinstance(panel.values, Mapping):
            _bars(axes, panel.values)
        else:
            _histogram(axes, panel.values, panel.log)
        axes.set_title(_plain(panel.title), fontsize=10)
        axes.set_xlabel(panel.x, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25, axis="x" if isinstance(panel.values, Mapping) else "y")
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    figure.suptitle(_plain(title), fontsize=11)
    _save(figure, path)
    return path


def _plain(name: str) -> str:
    """A name as matplotlib draws it: control characters escaped, and no `$`, which would begin a formula."""
    return escape_control_characters(name).replace("$", r"\$")


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    # matplotlib warns about letters that the font lacks, which are drawn as boxes
    with replace_whole_file(path) as part, ignore_library_warnings():
        figure.tight_layout()
        figure.savefig(part, format=path.suffix[1:] or "png")
    pyplot.close(figure)


def _bars(axes, counts: Mapping[str, int]) -> None:
    rows = sorted(counts.items(), key=lambda item: -item[1])
    if len(rows) > 24:
        rows = [*rows[:23], (f"{len(rows) - 23} more", sum(n for _, n in rows[23:]))]
    names = [_plain(name[:18]) for name, _ in rows]
    axes.barh(range(len(rows)), [n for _, n in rows], color="#265ca0")
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(max(len(rows), 4) - 0.5, -0.5)  # with few bars they stay thin; the first is at the top


def _histogram(axes, values: Sequence[float], log: bool) -> None:
    import numpy as np

    data = np.asarray(values, dtype=float)
    if not len(data):
        axes.text(0.5, 0.5, "nothing to show", ha="center", transform=axes.transAxes)
        return
    low, high = float(data.min()), float(data.max())
    if low == high:
        low, high = (low / 1.5, high * 1.5) if log else (low - 0.5, high + 0.5)
    edges = np.geomspace(low, high, 31) if log else np.linspace(low, high, 31)
    axes.hist(data, bins=edges, color="#265ca0")
    if log:
        from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

        axes.set_xscale("log")
        round_ = [d * 10.0**k for k in range(-4, 6) for d in (1, 2, 5)]
        ticks = [t for t in round_ if edges[0] <= t <= edges[-1]] or [float(np.sqrt(low * high))]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
