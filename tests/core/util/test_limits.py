"""Limits of requests: the memory that there is, and errors that say that it does not suffice."""

import pytest
import torch
from sonolux.core.pipeline.lengths import COPIES, check_request_memory
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util import limits
from sonolux.core.util.limits import check_memory, is_out_of_memory, total_memory

SPEC = MediaSpec("image", 3, ("height", "width"), (16, 16))


class Halving:
    """A codec whose diffused tensor has half the size and four channels; only its shape is needed."""

    def shape(self, size):
        return (4, *(n // 2 for n in size))


def test_memory_is_that_of_the_machine_or_of_the_container(tmp_path, monkeypatch):
    assert 2**28 < total_memory() < 2**50
    file = tmp_path / "memory.max"
    monkeypatch.setattr(limits, "_CGROUPS", (str(file),))
    machine = total_memory()
    file.write_text("max\n")
    assert total_memory() == machine
    file.write_text("1000\n")
    assert total_memory() == 1000


def check_bytes(monkeypatch):
    """5 samples of 3 x 20 x 20 and a batch of 2 of 4 x 10 x 10, in copies, of 4 bytes each."""
    needed = 4 * (5 * 3 * 20 * 20 + COPIES * 2 * 4 * 10 * 10)
    sizes = [(20, 20)] * 5
    monkeypatch.setattr(limits, "total_memory", lambda: needed)
    check_request_memory(Halving(), SPEC, sizes, 2)  # type: ignore[arg-type]
    monkeypatch.setattr(limits, "total_memory", lambda: needed - 1)
    said = r"^5 samples of 20 x 20, 2 at a time, need at least .* GB .*: choose a smaller count, batch or size$"
    with pytest.raises(BadInput, match=said) as error:
        check_request_memory(Halving(), SPEC, sizes, 2)  # type: ignore[arg-type]
    assert len(str(error.value)) <= 200


def test_the_memory_of_a_request_is_counted(monkeypatch):
    check_bytes(monkeypatch)


def test_planted_size_of_the_media_instead_of_the_diffused_tensor_is_caught(monkeypatch):
    monkeypatch.setattr(Halving, "shape", lambda self, size: (4, *size))
    assert_caught(check_bytes, monkeypatch, also=BadInput)


def test_the_message_states_both_sizes(monkeypatch):
    monkeypatch.setattr(limits, "total_memory", lambda: 16 * 10**9)
    with pytest.raises(BadInput, match=r"^x need at least 20 GB of memory, and this machine has 16 GB: do less$"):
        check_memory(20 * 10**9, "x", "do less")


def test_errors_of_allocation_are_recognised():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**58)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ")) and not is_out_of_memory(BadInput("out of memory"))
