"""What the benchmarks share: a table of measurements, the arguments of those that measure runs, and exit codes."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sonolux.core.types import BadInput
from sonolux.core.util.messages import print_lines


@dataclass
class Figure:
    """One line of a table.

    Attributes:
        name: What was measured.
        value: The measured value.
        form: Format string of the value.
        note: Remark, for example the expected value or a reference.
    """

    name: str
    value: Any
    form: str = "{:.3g}"
    note: str = ""


@dataclass
class Table:
    """The measurements of one run."""

    title: str
    figures: list[Figure] = field(default_factory=list)

    def add(self, name: str, value: Any, form: str = "{:.3g}", note: str = "") -> None:
        """Append a line."""
        self.figures.append(Figure(name, value, form, note))

    def text(self) -> str:
        """The lines in aligned columns."""
        width = max(len(f.name) for f in self.figures)
        lines = [f"  {f.name:<{width}}  {f.form.format(f.value):>10}  {f.note}".rstrip() for f in self.figures]
        return "\n".join([self.title, *lines])


def runs_parser(doc: str | None, count: int | None, about: str = "") -> ArgumentParser:
    """The arguments RUN ..., --count, --seed and --set.

    Args:
        doc: The docstring of the benchmark.
        count: Default of --count.
        about: Help of --count.
    """
    parser = ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--count", type=int, default=count, help=about)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the sample settings")
    return parser


def draw_side_by_side(modality: Any, path: str, media: Mapping[str, Sequence[Any]], most: int) -> None:
    """Draw the first samples of several lists next to each other: title -> media (C, *size) of the same examples."""
    rows = list(zip(*media.values(), strict=True))[:most]
    modality.sheet(Path(path), [one for row in rows for one in row], [*media] * len(rows))


def exit_code(task: Callable[[], object]) -> int:
    """Do a task; bad input gives one message and exit code 2."""
    try:
        task()
    except BadInput as error:
        print_lines(*error.lines(), err=True)
        return 2
    return 0


def print_tables(runs: Sequence[str], measure: Callable[[str], Table]) -> int:
    """Print the table of each run, and return the exit code, see `exit_code`."""

    def task() -> None:
        for run in runs:
            print(measure(run).text() + "\n", flush=True)

    return exit_code(task)
