"""Limits of what may be asked for: largest numbers in recipes and options, and the memory that a request may need.

The numbers are far above what is useful. They exist so that a typing error, or the recipe in a checkpoint of others, is
refused in one line instead of filling the memory of the machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import BadInput

MOST_STEPS = 10_000  # sampling steps
MOST_SAMPLES = 100_000  # samples of one request
MOST_SECONDS = 1_000_000  # length along time
MOST_ELEMENTS = 1_000_000  # along one axis other than time
MOST_ROWS = 100_000  # of the plan of a sampler

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_ALLOCATION = (
    "DefaultCPUAllocator",
    "out of memory",
    "allocate memory",
    "Invalid buffer size",  # MPS
    "Storage size calculation overflowed",
    "array is too big",  # numpy
    "Maximum allowed dimension exceeded",  # numpy
)
_UNKNOWN = 2**40  # bytes, where the system does not state its memory


def total_memory() -> int:
    """Bytes of memory that this process may use: those of the machine, or fewer in a container."""
    try:
        known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):  # Windows
        known = [_UNKNOWN]
    for file in _CGROUPS:
        try:
            known.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # absent, or "max"
            continue
    return min(n for n in known if n > 0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or the one that caused it, says that memory could not be allocated: by Python, numpy or torch.

    torch raises RuntimeError on a CPU, and a subclass of it, OutOfMemoryError, on a GPU.
    """
    cause = error.__cause__ or error.__context__
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, (RuntimeError, ValueError)) and any(text in str(error) for text in _ALLOCATION):
        return True
    return cause is not None and isinstance(error, RuntimeError) and is_out_of_memory(cause)


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Raise BadInput if something needs more memory than there is.

    Args:
        needed: Bytes, at least.
        what: What needs them, as a plural noun.
        remedy: What to do instead.
    """
    if needed > (most := total_memory()):
        raise BadInput(
            f"{what} need at least {needed / 1e9:.3g} GB of memory, and this machine has {most / 1e9:.3g} GB: {remedy}"
        )
