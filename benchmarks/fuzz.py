"""Damaged input for every reader of files and texts: each case must be read, or refused with BadInput.

    python benchmarks/fuzz.py [--cases 100000] [--readers wav,flac] [--seed 0] [--first 0]

A case is a small valid file or text with random changes, which follow from the seed, the reader and the number of the
case. It must not raise anything but BadInput, nor take more than 2 s of processor time or 600 MB. One line a reader:
cases, share that is refused, the slowest case in ms of processor time, the largest growth of memory during a case in
MB. Every fault is printed with the command that repeats it, and the next cases follow; the exit code is then 1. Ctrl-C
or SIGTERM ends a run with the table of what was read; `--first` continues it. The readers are in
tests/_fuzz_readers.py.
"""

from __future__ import annotations

import argparse
import faulthandler
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from _fuzz import Reader, case_bytes, no_errors_hidden, run_case, smallest
from _fuzz_readers import READERS
from sonolux.core.util.messages import escape_control_characters

HEAD = ("reader", "cases", "refused", "slowest ms", "growth MB", "seconds", "faults")

MOST_SHOWN = 10  # faults of one reader that are printed


@dataclass
class Totals:
    """What the cases of one reader gave.

    Attributes:
        name: The reader.
        cases: Number of cases.
        refused: Number of cases that were refused.
        slowest: Processor time of the slowest case in seconds.
        grown: Largest growth of the memory during one case in MB.
        seconds: Processor time of all cases.
        faults: Numbers of the cases that are faults.
        stopped: Whether the user stopped it before the last case.
    """

    name: str
    cases: int
    refused: int
    slowest: float
    grown: float
    seconds: float
    faults: list[int]
    stopped: bool = False

    def row(self) -> str:
        """A line of the table."""
        share = f"{100 * self.refused / max(self.cases, 1):.1f} %"
        values = (self.name, self.cases, share, f"{1e3 * self.slowest:.0f}", f"{self.grown:.0f}")
        return format_row((*values, f"{self.seconds:.0f}", len(self.faults)))


def format_row(values: tuple[object, ...]) -> str:
    """Values in columns."""
    name, *others = map(str, values)
    return f"{name:<18}" + "".join(f"{value:>12}" for value in others)


def fails(reader: Reader, data: bytes, folder: Path) -> bool:
    """Whether the case of these bytes is a fault."""
    try:
        with no_errors_hidden():
            run_case(reader, data, folder)
    except Exception:
        return True
    return False


def run_reader(reader: Reader, seed: int, first: int, cases: int, folder: Path) -> Totals:
    """Read cases; each fault is printed with what repeats it."""
    total = Totals(reader.name, cases, 0, 0.0, 0.0, 0.0, [])
    fails(reader, b"", folder)  # imports and caches are filled
    began = time.process_time()
    for number in range(first, first + cases):
        try:
            with no_errors_hidden():
                outcome = run_case(reader, case_bytes(seed, reader.name, number), folder)
        except KeyboardInterrupt:
            total.cases, total.stopped = number - first, True
            break
        except Exception:
            total.faults.append(number)
            if len(total.faults) <= MOST_SHOWN:
                print_fault(reader, seed, number, folder)
            continue
        total.refused += outcome.refused
        total.slowest, total.grown = max(total.slowest, outcome.seconds), max(total.grown, outcome.grown)
    total.seconds = time.process_time() - began
    return total


def print_fault(reader: Reader, seed: int, number: int, folder: Path) -> None:
    """Print a fault, the command that repeats it, and a case of few changes that fails as well."""
    print(f"fault: python benchmarks/fuzz.py --readers '{reader.name}' --seed {seed} --first {number} --cases 1")
    print("\n".join(map(escape_control_characters, traceback.format_exc(limit=-4).split("\n"))))
    least = smallest(case_bytes(seed, reader.name, number), lambda data: fails(reader, data, folder))
    print(f"least bytes that fail: {least.rstrip(bytes(1))!r}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases that the arguments ask for; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="cases of each reader")
    parser.add_argument("--readers", default=",".join(READERS), help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    asked = parser.parse_args(arguments)
    names = asked.readers.split(",")
    if unknown := [name for name in names if name not in READERS]:
        parser.error(f"there is no reader {', '.join(unknown)}; known: {', '.join(READERS)}")
    print(format_row(HEAD), flush=True)
    totals = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            totals.append(run_reader(READERS[name], asked.seed, asked.first, asked.cases, Path(folder)))
            print(totals[-1].row(), flush=True)
            if totals[-1].stopped:
                print(f"stopped: --readers '{name}' --first {asked.first + totals[-1].cases} continues")
                break
    summary(totals)
    return int(any(total.faults for total in totals))


def summary(totals: list[Totals]) -> None:
    """Print the table of all readers and its totals."""
    print("\n" + "\n".join([format_row(HEAD), *(total.row() for total in totals)]))
    slowest, grown = max(total.slowest for total in totals), max(total.grown for total in totals)
    cases, refused = sum(total.cases for total in totals), sum(total.refused for total in totals)
    faults = [number for total in totals for number in total.faults]
    print(Totals("all", cases, refused, slowest, grown, sum(total.seconds for total in totals), faults).row())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    faulthandler.enable()  # where a library ends the process, the line of Python is printed
    sys.exit(main())
