"""Show the training of a run while it goes on: loss by noise level, speed, time left."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from ._completion import complete_run_folder
from ._paths import PathArgument

EVERY = 1.0  # seconds between two looks at the folder


@click.command("watch")
@click.argument("run", type=PathArgument(), shell_complete=complete_run_folder)
@click.option("--json", "as_json", is_flag=True, help="Print one record as JSON, and end.")
def command(run: Path, as_json: bool) -> None:
    """Show the state of RUN until its training ends; Ctrl-C ends the view, and not the training.

    On a terminal the view is drawn again in its place; elsewhere each new line of the log is printed.

    \b
    sonolux watch runs/digits
    sonolux watch runs/digits --json
    """
    from ..training.run_view import read_run, run_lines
    from ..util.messages import print_json, print_lines

    if as_json:
        print_json(read_run(run).to_dict())
        return
    terminal = sys.stdout.isatty()
    blocks = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    shown: Sequence[str] = []
    while True:
        record = read_run(run)
        lines = run_lines(record, blocks)
        if terminal:  # a line that the terminal breaks would be two, and the next view is drawn over this one
            lines = [line[: shutil.get_terminal_size().columns - 1] for line in lines]
        if lines != shown:
            if terminal and shown:
                _clear(len(shown))
            print_lines(*lines)
            shown = lines
        if record.state == "ended":
            return
        time.sleep(EVERY)


def _clear(lines: int) -> None:
    """Move the cursor of the terminal up, and remove what is below it."""
    sys.stdout.write(f"\x1b[{lines}F\x1b[J")
    sys.stdout.flush()
