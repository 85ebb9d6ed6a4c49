"""The device of tensors and the precision in which networks compute."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import torch

from .errors import BadInput


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name.

    Args:
        name: `auto` (the first available of cuda, mps and cpu), or a device such as `cpu` or `cuda:1`.

    Raises:
        BadInput: The device is unknown or not available.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(d for d, available in has.items() if available))
    kind = name.split(":")[0]
    if kind not in has:
        raise BadInput(f"device {name!r} is not known: use auto, cpu, cuda or mps")
    if not has[kind]:
        raise BadInput(
            f"device {name!r} is not on this machine: use device=auto, or one of {[d for d in has if has[d]]}"
        )
    count = torch.cuda.device_count() if kind == "cuda" else 1
    index = name.partition(":")[2]
    if ":" in name and not (index.isdecimal() and int(index) < count):
        raise BadInput(f"device {name!r} is not on this machine: it has {count} of {kind!r}, counted from 0")
    return torch.device(name)


def peak_memory(device: torch.device) -> int | None:
    """Bytes of the largest memory use so far: of tensors on a GPU, of the process on a CPU; None: unknown.

    Nothing waits for the device.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu":
        return None
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; without that, bf16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        has = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
        return "AVX512" in capability and any(f is not None and f() for f in has)
    return False


def uses_bf16(device: torch.device, precision: str) -> bool:
    """Whether a training of this precision computes in bfloat16 on a device, see `autocast`."""
    return precision == "bf16" or (precision == "auto" and has_native_bf16(device))


def autocast(device: torch.device, precision: str):
    """A context in which networks compute in `precision`: float32, bf16, or auto (bf16 if the hardware supports it)."""
    if uses_bf16(device, precision):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
