"""The benchmark of memory and open files sees what a process keeps."""

import mmap
import sys
from pathlib import Path

import pytest
from sonolux.core.testing.mutation import assert_caught

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import memory


def check_constant(found):
    """Open files and threads do not grow after the first fifth."""
    states = list(found.values())
    first = states[len(states) // 5]
    assert all((s.files, s.threads) == (first.files, first.threads) for s in states[len(states) // 5 :])


@pytest.mark.slow
def test_training_and_sampling_keep_no_files(tmp_path):
    trained = memory.train(tmp_path, 20, 0)
    assert list(trained) == list(range(2, 21, 2))
    check_constant(trained)
    called = memory.sample(tmp_path / "run", 10)
    assert list(called) == list(range(1, 11))
    check_constant(called)
    assert "growth" in memory.table("call", called)


def fresh_memory(size):
    """Pages from the kernel, all written: an allocation may reuse memory that this process has already."""
    pages = mmap.mmap(-1, size)
    pages.write(b"x" * size)
    return pages


@pytest.mark.slow
def test_a_file_that_stays_open_and_memory_that_is_kept_are_seen(tmp_path):
    opened, kept, found = [], [], {}
    for call in range(10):
        opened.append(open(tmp_path / "x", "w"))  # noqa: SIM115 (it stays open on purpose)
        kept.append(fresh_memory(40 * 2**20))
        found[call] = memory.state()
    assert_caught(check_constant, found)
    assert memory.growth(found) > 200  # seven times 40 MiB
    for file in opened:
        file.close()
