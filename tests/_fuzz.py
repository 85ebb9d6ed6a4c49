"""Cases of damaged input: each is made from `SIZE` bytes, which hypothesis or a seed gives, and read within limits."""

import random
import resource
import struct
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonolux.core.types import BadInput

SECONDS = 2.0  # of processor time, for one case
MEGABYTES = 600  # on top of what the process had
SIZE = 96  # bytes that a case is made from
NUMBERS = [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1", b"\1\0\0\0"]


class Draws:
    """Choices that bytes stand for, one after the other; after the last byte, and for zeros, each is the first option.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        found = self.data[self.at : self.at + size]
        self.at += size
        return found.ljust(size, b"\0")

    def number(self, count: int) -> int:
        """An integer from 0 to count - 1."""
        return int.from_bytes(self.take(1 if count <= 256 else 3), "big") % count

    def choice(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        return options[self.number(len(options))]

    def fraction(self) -> float:
        """A number from 0 to below 1."""
        return self.number(2**24) / 2**24

    def changes(self) -> range:
        """A number of changes, as a range: one to four, rarely none."""
        return range(-(-self.number(16) // 4))

    def real(self) -> float:
        """Any number of 64 bits, NaN and infinities included."""
        return struct.unpack(">d", self.take(8))[0]

    def text(self, longest: int) -> str:
        """A text of any characters, halves of characters included."""
        return "".join(chr(self._character()) for _ in range(self.number(longest + 1)))

    def _character(self) -> int:
        limit = self.choice([128, 0x300, 2**16, 0x110000])
        return self.number(limit)


def mutated(data: bytes, draws: Draws) -> bytes:
    """The bytes of a file with changes; headers, which are at the start, are changed more often."""
    out = bytearray(data)
    for _ in draws.changes():
        kind = draws.choice(["set", "write", "number", "cut", "remove", "repeat"])
        place = draws.number(draws.choice([min(len(data), 80), len(data)]))
        if kind == "set":
            out[place : place + 1] = draws.take(1)
        elif kind == "cut":
            del out[place:]
        elif kind == "remove":
            del out[place : place + 1 + draws.number(64)]
        elif kind == "repeat":
            out[place:place] = out[place : place + 1 + draws.number(200)]
        else:
            new = draws.choice(NUMBERS) if kind == "number" else draws.take(1 + draws.number(8))
            out[place : place + len(new)] = new
    return bytes(out)


@dataclass(frozen=True)
class Reader:
    """A reader, and how its cases are made.

    Attributes:
        name: Its name in tables.
        make: Draws -> what it reads: the bytes of a file, a text, ...
        read: Reads that, in an empty folder; raises BadInput, or anything else for a fault.
    """

    name: str
    make: Callable[[Draws], Any]
    read: Callable[[Any, Path], None]


@dataclass(frozen=True)
class Outcome:
    """What reading one case gave: refused or not, processor time in seconds, and growth of the memory in MB."""

    refused: bool
    seconds: float
    grown: float


def write_over(path: Path, data: bytes) -> None:
    """Write a file; an earlier one is not truncated first, since the file system would then wait for the disk."""
    with open(path, "r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()


def case_bytes(seed: int, name: str, number: int) -> bytes:
    """The bytes that a case of the command is made from."""
    return random.Random(f"{seed} {name} {number}").randbytes(SIZE)


def start_peak_memory() -> float:
    """Begin a new measurement of the largest memory of the process, and return the memory now, in MB.

    Only Linux can begin a new one; elsewhere the largest memory is that of all cases so far.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> float:
    """The largest memory of the process in MB since `start_peak_memory`."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1e3 for line in file if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def run_case(reader: Reader, data: bytes, folder: Path) -> Outcome:
    """Read one case: no error but BadInput, within the limits of time and memory.

    Args:
        reader: The reader.
        data: The bytes that the case is made from.
        folder: Folder for its files.
    """
    given = reader.make(Draws(data))
    began, before = time.process_time(), start_peak_memory()
    refused = False
    try:
        reader.read(given, folder)
    except BadInput as error:
        refused = True
        assert str(error), "a message"
    seconds = time.process_time() - began
    assert seconds < SECONDS, f"{seconds:.1f} s"
    grown = peak_memory() - before
    assert grown < MEGABYTES, f"{grown:.0f} MB"
    return Outcome(refused, seconds, grown)


@contextmanager
def no_errors_hidden():
    """Warnings are left out; an error that Python only prints, such as one of what a library calls back, is raised."""
    hidden: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, hidden.append
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = before
    if hidden:
        raise hidden[0].exc_value


def smallest(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """The bytes of a case that fails, with zeros wherever it still fails with them: a case of few changes."""
    for size in (16, 4, 1):
        for at in range(0, len(data), size):
            changed = data[:at] + bytes(len(data[at : at + size])) + data[at + size :]
            if changed != data and fails(changed):
                data = changed
    return data
