"""What one GPU reaches, in at most ten minutes: speed next to diffusers, sampling, host waits, two trainings.

    SONOLUX_DATA=FOLDER python benchmarks/gpu.py --out OUT [--minutes 10] [--only SECTION ...]
    python benchmarks/gpu.py --smoke --out OUT

FOLDER contains the folders cifar10 (one folder for each class) and game_sounds (with captions.jsonl); diffusers comes
with `pip install 'sonolux[peers]'`. Each section runs in a process of its own with a time limit and prints its table
when it is done; one that fails or takes too long does not stop the others. OUT receives results.json, results.md, and
the two runs with the reports of `sonolux eval`.

  matmul             FLOP/s of large matrix products in bf16, with which the others are compared
  training           pictures/s of our U-Net and transformer and of diffusers' of the same widths and depths
  compiled training  the same, compiled: our blocks as by train.compile, other networks as a whole
  sampling           pictures/s of 20 steps, not compiled and with CUDA graphs
  host waits         how often a training step waits for the GPU
  cifar10            training and evaluation of the recipe
  game sounds        training and evaluation of the recipe

--smoke   the same at toy size on a CPU, in one process: shows that every part works
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _bench import Figure, Table, exit_code
from _gpu_sections import SECTIONS, Options
from sonolux.core.types import BadInput
from sonolux.core.util.atomic_replace import write_text_file
from sonolux.core.util.messages import shorten
from sonolux.core.util.packages import package_version

Result = dict[str, Any]
START = 20.0  # seconds that a process of a section may need in addition to its budget, to start and to compile


class WrittenTable(Table):
    """A table that writes itself to a file after each figure, so that those of a stopped process are not lost."""

    file: Path

    def add(self, name: str, value: Any, form: str = "{:.3g}", note: str = "") -> None:
        """Append a line."""
        super().add(name, value, form, note)
        write_text_file(self.file, json.dumps([self.title, [asdict(figure) for figure in self.figures]], default=str))


def run_section(name: str, options: Options, table: Table | None = None) -> Result:
    """Run a section in this process: its figures, and the reason why there are no more."""
    began, error = time.monotonic(), None
    table = Table(name) if table is None else table
    try:
        SECTIONS[name][0](options, table)
    except Exception as failure:  # whatever fails must not stop the other sections
        error = " ".join(f"{type(failure).__name__}: {failure}".split())
    return _result(name, began, table.title, [asdict(figure) for figure in table.figures], error)


def run_section_apart(name: str, options: Options) -> Result:
    """Run a section in a process of its own: an error of the GPU would make all later work of its process fail."""
    began, (target, part) = time.monotonic(), section_files(options.out, name)
    words = ["--out", str(options.out), "--section", name, "--seconds", str(options.seconds)]
    words += ["--smoke"] * options.smoke
    limit = options.seconds + START
    try:
        done = subprocess.run(
            [sys.executable, __file__, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit
        )
        if target.is_file():
            return json.loads(target.read_text(encoding="utf-8"))
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        error = f"its process ended with exit code {done.returncode}: {shorten(last, 300)}"
    except subprocess.TimeoutExpired:
        error = f"stopped after {limit:.0f} s"
    finally:
        found = json.loads(part.read_text(encoding="utf-8")) if part.is_file() else [name, []]
        for file in (target, part):
            file.unlink(missing_ok=True)
    return _result(name, began, *found, error)


def section_files(out: Path, name: str) -> tuple[Path, Path]:
    """Where the process of a section writes its result, and its figures so far."""
    return out / f"{name.replace(' ', '_')}.json", out / f"{name.replace(' ', '_')}-part.json"


def _result(name: str, began: float, title: str, figures: Sequence[Any], error: str | None) -> Result:
    seconds = round(time.monotonic() - began, 1)
    return {"name": name, "title": title, "seconds": seconds, "figures": list(figures), "error": error}


def describe_machine(smoke: bool) -> Result:
    """The device, and versions."""
    gpu = torch.cuda.is_available() and not smoke
    return {
        "device": torch.cuda.get_device_name() if gpu else f"{platform.processor() or 'CPU'}, not a GPU",
        "smoke": smoke,
        **{name: package_version(name) for name in ("sonolux", "torch", "diffusers")},
    }


def text_of(result: Result) -> str:
    """The table of a section as text; of one that failed, what it has found before."""
    figures = [Figure(**figure) for figure in result["figures"]]
    table = Table(result["title"], figures).text() if figures else result["title"]
    failure = f"  FAILED after {result['seconds']} s: {result['error']}"
    return f"{table}\n{failure}" if result["error"] else table


def markdown_of(machine: Result, results: Sequence[Result]) -> str:
    """All tables as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items() if name not in ("device", "smoke"))
    lines = [f"# {machine['device']}", "", f"`python benchmarks/gpu.py`; {facts}.", ""]
    for result in results:
        lines += [f"## {result['title']}", ""]
        if result["error"]:
            lines += [f"Failed: {result['error']}", ""]
        lines += ["| | | |", "|---|---|---|"] * bool(result["figures"])
        for figure in result["figures"]:
            cells = [figure["name"], figure["form"].format(figure["value"]), figure["note"]]
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
        lines += ["", f"{result['seconds']} s.", ""]
    return "\n".join(lines)


def run_all(options: argparse.Namespace) -> None:
    """Run the sections one after the other, and write the results after each.

    Raises:
        BadInput: There is no GPU, or a section has failed; all others were run.
    """
    if not options.smoke and not torch.cuda.is_available():
        raise BadInput("there is no GPU: --smoke runs everything at toy size on a CPU")
    options.out.mkdir(parents=True, exist_ok=True)
    names, results = options.only or list(SECTIONS), []
    end, machine = time.monotonic() + 60 * options.minutes, describe_machine(options.smoke)
    print(machine["device"], flush=True)
    scale = min(1.0, 60 * options.minutes / sum(SECTIONS[name][1] for name in names))
    for name in names:
        budget = 2.0 if options.smoke else min(scale * SECTIONS[name][1], end - time.monotonic() - START)
        chosen = Options(options.out, budget, options.smoke)
        if budget < 1:
            results.append(_result(name, time.monotonic(), name, [], "no time is left"))
        else:
            results.append(run_section(name, chosen) if options.smoke else run_section_apart(name, chosen))
        print(f"\n{text_of(results[-1])}", flush=True)
        found = {**machine, "sections": results}
        write_text_file(options.out / "results.json", json.dumps(found, indent=1, default=str) + "\n")
        write_text_file(options.out / "results.md", markdown_of(machine, results))
    if failed := [result["name"] for result in results if result["error"]]:
        raise BadInput(f"failed: {', '.join(failed)}; the others are in {options.out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 2 if a section failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", action="append", choices=list(SECTIONS))
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--section", choices=list(SECTIONS), help=argparse.SUPPRESS)  # of the processes of sections
    parser.add_argument("--seconds", type=float, default=60, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.section is not None:
        target, part = section_files(options.out, options.section)
        table = WrittenTable(options.section)
        table.file = part
        result = run_section(options.section, Options(options.out, options.seconds, options.smoke), table)
        write_text_file(target, json.dumps(result, default=str))
        return 0
    return exit_code(lambda: run_all(options))


if __name__ == "__main__":
    sys.exit(main())
