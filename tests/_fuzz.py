"""Tests with generated input: settings, their number of cases from SONOLUX_FUZZ, and damage of small valid files."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from sonolux.core.types import BadInput

SECONDS = 2.0  # of processor time, for one file
MEGABYTES = 600  # on top of what the process had

fuzzed = settings(
    max_examples=int(os.environ.get("SONOLUX_FUZZ", "60")),
    deadline=None,
    derandomize="SONOLUX_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def mutations(size: int) -> st.SearchStrategy[list[tuple]]:
    """Changes of a file of `size` bytes; headers, which are at the start, are changed more often."""
    place = st.one_of(st.integers(0, min(size, 80) - 1), st.integers(0, size - 1))
    number = st.sampled_from(
        [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1", b"\1\0\0\0"]
    )
    change = st.one_of(
        st.tuples(st.just("set"), place, st.integers(0, 255)),
        st.tuples(st.just("write"), place, st.one_of(number, st.binary(min_size=1, max_size=8))),
        st.tuples(st.just("cut"), place),
        st.tuples(st.just("remove"), place, st.integers(1, 64)),
        st.tuples(st.just("repeat"), place, st.integers(1, 200)),
    )
    return st.lists(change, min_size=1, max_size=4)


def mutated(data: bytes, changes: list[tuple]) -> bytes:
    """The bytes with the changes of `mutations`, one after the other."""
    out = bytearray(data)
    for kind, place, *more in changes:
        if kind == "set":
            out[place : place + 1] = bytes(more)
        elif kind == "write":
            out[place : place + len(more[0])] = more[0]
        elif kind == "cut":
            del out[place:]
        elif kind == "remove":
            del out[place : place + more[0]]
        else:
            out[place:place] = out[place : place + more[0]]
    return bytes(out)


def check(path: Path, data: bytes, read: Callable[[Path], object]) -> None:
    """Read the bytes as a file: no error but BadInput, within the limits of time and memory."""
    path.write_bytes(data)
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(path)
    except BadInput as error:
        assert str(error).isprintable(), repr(str(error))
    assert time.process_time() - began < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3 < MEGABYTES
